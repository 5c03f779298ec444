"""`python -m tests.fuzz [--minutes 20]`: cases of every kind until time is up.

`python -m tests.fuzz --replay FOLDER...` checks kept cases again; `--kind pictures --seed 17`
makes and checks a single one.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from itertools import count
from pathlib import Path

from tests.fuzz import commands
from tests.fuzz.cases import KINDS, check, failures

STUCK_S = 120
"""After so long a case is taken for stuck, and its process ends with a trace."""


def main() -> int:
    """The exit code is 4 when a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--seed", type=int, help="one case only")
    parser.add_argument("--first", type=int, default=int(time.time()), help="the first seed")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    commands.IMPORTED = 20
    kinds = asked.kind or list(KINDS)
    if asked.replay:
        wrong = {str(folder): check(folder.resolve()) for folder in asked.replay}
        for name, text in wrong.items():
            print(f"{name}: {text or 'nothing is wrong'}")
        return 4 if any(wrong.values()) else 0
    if asked.seed is not None:
        found = failures(kinds[0], [asked.seed], asked.keep)
        print(*found.values() or ["nothing is wrong"], sep="\n")
        return 4 if found else 0
    if asked.worker:
        return _work(kinds, asked.first, asked.worker, asked.minutes, asked.keep)
    return _all(kinds, asked.first, asked.minutes, asked.keep)


def _all(kinds: list[str], first: int, minutes: float, keep: Path) -> int:
    """Workers on all cores; one that crashes is a failure of the case that it was at."""
    workers = len(os.sched_getaffinity(0))
    print(f"fuzzing {', '.join(kinds)} for {minutes:g} minutes, seeds from {first}", flush=True)
    command = [sys.executable, "-m", "tests.fuzz", "--minutes", str(minutes), "--keep", str(keep),
               "--first", str(first), *(part for kind in kinds for part in ("--kind", kind))]  # fmt: skip
    started = [
        subprocess.Popen([*command, "--worker", str(n), str(workers)], text=True,
                         stdout=subprocess.PIPE)
        for n in range(workers)
    ]  # fmt: skip
    done: Counter[str] = Counter()
    failed = False
    for worker in started:
        out, _ = worker.communicate()
        last = (out.splitlines() or [""])[-1]
        failed |= worker.returncode != 0
        if worker.returncode in (0, 4):
            done.update({name: int(n) for name, n in (one.split("=") for one in last.split())})
        else:
            print(f"a crash ({worker.returncode}): python -m tests.fuzz {last}", file=sys.stderr)
    print(", ".join(f"{n:,} {kind}" for kind, n in done.items()) + " tried")
    return 4 if failed else 0


def _work(kinds: list[str], first: int, share: list[int], minutes: float, keep: Path) -> int:
    """Every so manieth seed, kind by kind. Each line names the case that is tried; the last one
    says how many were."""
    number, workers = share
    until, done, failed = time.monotonic() + 60 * minutes, Counter(dict.fromkeys(kinds, 0)), 0
    with tempfile.TemporaryDirectory() as place:
        for seed in count(first + number, workers):
            for kind in kinds:
                if time.monotonic() > until:
                    print(*(f"{kind}={n}" for kind, n in done.items()), flush=True)
                    return 4 if failed else 0
                print(f"--kind {kind} --seed {seed}", flush=True)
                faulthandler.dump_traceback_later(STUCK_S, exit=True)
                found = failures(kind, [seed], Path(place))
                faulthandler.cancel_dump_traceback_later()
                done[kind] += 1
                for folder, wrong in found.items():
                    failed += 1
                    keep.mkdir(exist_ok=True)
                    kept = keep / Path(folder).name
                    subprocess.run(["cp", "-a", folder, str(kept)], check=True)
                    print(f"{kept}: {wrong.splitlines()[-1][:200]}", file=sys.stderr, flush=True)
    raise AssertionError


if __name__ == "__main__":
    sys.exit(main())
