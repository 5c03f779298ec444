"""`python -m tests.faults.mutants`: are the fault tests worth anything?

Takes one precaution at a time out of a copy of the program (an fsync, a rename, a digest, a
lock) and asks whether anything notices. "power" mutants run every operation in turn and cut
the power when each says that it is done: nothing may be lost then. The others run tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.drawings import draw_folder
from tests.faults.harness import ROOT, Worker, scratch_place

SYNC_DIR = "fsync_directory(table)\n    fsync_directory(table / LOG)\n    replace_file"
POWER = "power"
COMMITS = "tests/schemas/test_commits.py"
GENERATIONS = "tests/indexer/test_generations.py"
PROOFS = "tests/indexer/test_proofs.py"
BLOCKS = "tests/schemas/test_blocklist.py"
LOCKS = "tests/schemas/test_lock.py"


@dataclass(frozen=True)
class Mutant:
    """One precaution less: `old` in `file` becomes `new`; `test` should notice."""

    file: str
    old: str
    new: str
    test: str


# fmt: off
MUTANTS = (
    Mutant("schemas/durable.py", "os.fsync(handle.fileno())", "pass", POWER),
    Mutant("schemas/durable.py", "    fsync_directory(path.parent)\n", "    pass\n", POWER),
    Mutant("schemas/commits.py", "fsync_file(table / name)", "pass", POWER),
    Mutant("schemas/commits.py", "        fsync_file(entry)\n", "", POWER),
    Mutant("schemas/commits.py", SYNC_DIR, "fsync_directory(table / LOG)\n    replace_file", POWER),
    Mutant("schemas/commits.py", SYNC_DIR, "fsync_directory(table)\n    replace_file", POWER),
    Mutant("schemas/commits.py", "    fsync_file(log / name)\n", "", POWER),
    Mutant("crawler/pictures.py", "            os.fsync(handle.fileno())\n", "", POWER),
    Mutant("crawler/pictures.py", "    fsync_directory(path.parent)\n", "", POWER),
    Mutant("crawler/pictures.py", "fsync_directory(folder.parent)", "pass", POWER),
    Mutant("indexer/sealing.py", "    fsync_file(path)\n", "", POWER),
    Mutant("indexer/build.py", '    fsync_file(aside / "meta.sqlite")\n', "", POWER),
    Mutant("indexer/build.py", "    fsync_directory(layout.index)\n", "", POWER),
    Mutant("schemas/commits.py", "version <= sealed or _is_whole", "True or _is_whole", COMMITS),
    Mutant("schemas/commits.py", "!= size:", "< 0:", COMMITS),
    Mutant("schemas/commits.py", "if handle.read() != PARQUET_END", "if False", COMMITS),
    Mutant("schemas/commits.py", "_entry(table, version).unlink()", "pass", COMMITS),
    Mutant("schemas/recovery.py", "_remove(debris)\n    for", "pass\n    for", COMMITS),
    Mutant("schemas/recovery.py", "if thorough or torn or", "if False and", COMMITS),
    Mutant("schemas/lock.py", "(handle, fcntl.LOCK_EX |", "(handle, fcntl.LOCK_SH |", LOCKS),
    Mutant("indexer/manifests.py", "manifest_bytes(body) != data", "False", GENERATIONS),
    Mutant("indexer/manifests.py", '(digest_file(path) == facts["blake3"])', "True", GENERATIONS),
    Mutant("indexer/generations.py", 'current[1] != manifest["digest"]', "False", GENERATIONS),
    Mutant("indexer/generations.py", "text != f\"{name} {digest}\\n\"", "False", GENERATIONS),
    Mutant("indexer/retention.py", "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_UN", GENERATIONS),
    Mutant("indexer/build.py", "    if failed:\n", "    if False:\n", PROOFS),
    Mutant("indexer/proofs.py", "share >= 1.0 - allowed", "True", PROOFS),
    Mutant("indexer/proofs.py", "has >= had * (1.0 - allowed)", "True", PROOFS),
    Mutant("schemas/blocklist.py", "!= data:", "== b'':", BLOCKS),
)
# fmt: on


def is_caught(mutant: Mutant, place: Path) -> bool:
    """Whether its test fails on a copy of the program without the precaution."""
    source = place / "source"
    shutil.rmtree(source, ignore_errors=True)
    for folder in ("schemas", "crawler", "indexer", "search", "tests"):
        shutil.copytree(ROOT / folder, source / folder)
    shutil.copy(ROOT / "pyproject.toml", source)
    path = source / mutant.file
    text = path.read_text("utf-8")
    assert mutant.old in text, f"{mutant.file} has no {mutant.old!r} any more"
    path.write_text(text.replace(mutant.old, mutant.new), "utf-8")
    if mutant.test == POWER:
        return bool(power_losses(place / "power", source))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.test],
        cwd=source, env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 1


def power_losses(place: Path, source: Path = ROOT) -> list[str]:
    """Run the operations one after another and cut the power after each; what was lost."""
    shutil.rmtree(place, ignore_errors=True)
    (place / "worker").mkdir(parents=True)
    state = place / "state"
    draw_folder(state / "drawings", titles=1, pictures=2, hands=3, side_px=64)
    worker = Worker(place / "worker", source=source)
    try:
        for operation in ("import", "embed", "build", "publish", "maintain", "forget"):
            sound = worker.trial(state, operation, finish=False)
            if sound["code"] != 0:  # what the operation before it left is not enough to go on
                return [f"{operation}: {sound['result']}"]
            found = worker.trial(state, operation, "count", power="lost", finish=False)
            if found["after"] != sound["after"]:
                return [f"{operation}: {found['after']}"]
            shutil.rmtree(state)
            shutil.copytree(place / "worker/trial", state)
        return []
    finally:
        worker.close()


def main() -> int:
    """Try every mutant; the exit code is 4 when fewer than 95 % are caught."""
    with tempfile.TemporaryDirectory() as folder:
        place = scratch_place(Path(folder)) / f"toonsearch-mutants-{os.getpid()}"
        try:
            lost = power_losses(place / "power")
            assert not lost, f"without a mutant: {lost}"
            survived = []
            for number, mutant in enumerate(MUTANTS, 1):
                caught = is_caught(mutant, place)
                survived += [] if caught else [mutant]
                what = mutant.old.strip().splitlines()[0]
                print(f"{number:>2} {'caught  ' if caught else 'SURVIVED'} {mutant.file}: {what}",
                      flush=True)  # fmt: skip
        finally:
            shutil.rmtree(place, ignore_errors=True)
    share = 1 - len(survived) / len(MUTANTS)
    print(f"{len(MUTANTS)} mutants, {share:.0%} caught")
    return 0 if share >= 0.95 else 4


if __name__ == "__main__":
    sys.exit(main())
