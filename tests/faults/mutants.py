"""`python -m tests.faults.mutants [NUMBER...]`: are the fault tests worth anything?

Takes one precaution at a time out of a copy of the program (an fsync, a rename, a digest, a
lock) and asks whether anything notices. "power" mutants run every operation in turn and cut
the power when each says that it is done: nothing may be lost then; and in the middle, where a
name has just been given that vouches for others: readers must go on. The others run tests.
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

SYNC_DIR = "fsync_directory(table)\n    fsync_directory(table / LOG)\n    files ="
POWER = "power"
COMMITS = "tests/schemas/storage/test_commits.py"
GENERATIONS = "tests/indexer/vector_index/test_generations.py"
CHECKS = "tests/indexer/vector_index/test_validation.py"
BLOCKS = "tests/schemas/test_blocklist.py"
LOCKS = "tests/schemas/storage/test_locking.py"
DIGESTS = "tests/schemas/storage/test_fsio.py"
OUTPUTS = "tests/faults/test_outputs.py"
HISTORY = "tests/crawler/importers/test_history.py"
MIRRORS = "tests/schemas/storage/test_mirrors.py"
DAMAGE = "tests/faults/test_damage.py"


@dataclass(frozen=True)
class Mutant:
    """One precaution less: `old` in `file` becomes `new`; `test` should notice."""

    file: str
    old: str
    new: str
    test: str


# fmt: off
MUTANTS = (
    Mutant("schemas/storage/fsio.py", "os.fsync(handle.fileno())", "pass", POWER),
    Mutant("schemas/storage/fsio.py", "    fsync_directory(path.parent)\n", "    pass\n", POWER),
    Mutant("schemas/storage/commits.py", "fsync_file(table / name)", "pass", POWER),
    Mutant("schemas/storage/commits.py", ', f"{LOG}/{number:020d}.json"):', ",):", POWER),
    Mutant("schemas/storage/commits.py", SYNC_DIR, "fsync_directory(table / LOG)\n    files =", POWER),
    Mutant("schemas/storage/commits.py", SYNC_DIR, "fsync_directory(table)\n    files =", POWER),
    Mutant("schemas/storage/commits.py", "        fsync_file(aside / name)\n", "", POWER),
    Mutant("crawler/images.py", "            fsync_file(aside)\n", "            pass\n", POWER),
    Mutant("crawler/images.py", "fsync_directory(path.parent)", "pass", POWER),
    Mutant("crawler/images.py", "fsync_directory(folder.parent)", "pass", POWER),
    Mutant("indexer/vector_index/faiss_index.py", "    fsync_file(path)\n", "", POWER),
    Mutant("indexer/vector_index/build.py", "        fsync_file(aside / META)\n", "", POWER),
    Mutant("indexer/vector_index/build.py", "        fsync_directory(self.layout.index)\n", "", POWER),
    Mutant("schemas/storage/commits.py", "not _is_whole(table, version)", "False", COMMITS),
    Mutant("schemas/storage/commits.py", "if version != newest + 1 or", "if", COMMITS),
    Mutant("schemas/storage/commits.py", "!= size:", "< 0:", COMMITS),
    Mutant("schemas/storage/commits.py", "if handle.read() != PARQUET_END", "if False", COMMITS),
    Mutant("schemas/storage/commits.py", "_remove(debris)\n    for", "pass\n    for", COMMITS),
    Mutant("schemas/storage/commits.py", "if thorough or torn or", "if False and", COMMITS),
    Mutant("schemas/storage/locking.py", "(handle, fcntl.LOCK_EX |", "(handle, fcntl.LOCK_SH |", LOCKS),
    Mutant("schemas/storage/fsio.py", "signed_bytes(body) != data", "False", GENERATIONS),
    Mutant("indexer/vector_index/generations.py", 'right = digest_file(path) == facts["blake3"]', "right = True", GENERATIONS),
    Mutant("indexer/vector_index/generations.py", 'current[1] != manifest["digest"]', "False", GENERATIONS),
    Mutant("indexer/vector_index/generations.py", "text != f\"{name} {digest}\\n\"", "False", GENERATIONS),
    Mutant("indexer/vector_index/generations.py", "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_UN", GENERATIONS),
    Mutant("indexer/vector_index/build.py", "    if failed:\n", "    if False:\n", CHECKS),
    Mutant("indexer/vector_index/validation.py", "share >= 1.0 - settings.max_change", "True", CHECKS),
    Mutant("indexer/vector_index/validation.py", "has >= had * (1.0 - settings.max_loss)", "True", CHECKS),
    Mutant("schemas/blocklist.py", "!= data:", "== b'':", BLOCKS),
    Mutant("schemas/storage/commits.py", "max(known, default=-1) < newest", "False", COMMITS),
    Mutant("schemas/storage/commits.py", "if known and read_checksums(table) is None", "if False", COMMITS),
    Mutant("schemas/storage/commits.py", "unfinished and path.is_file()", "False", COMMITS),
    Mutant("schemas/storage/commits.py", "write_checksums(table, TableChecksums(last.version, files))", "pass", DAMAGE),
    Mutant("schemas/storage/catalog.py", "commits.verify(directory, commits.log_files(directory))", "pass", DAMAGE),
    Mutant("schemas/storage/catalog.py", "commits.verify(directory, data_files(table))", "pass", DAMAGE),
    Mutant("schemas/storage/fsio.py", "known[:3] != key", "False", DIGESTS),
    Mutant("schemas/images.py", "if picture_id_of(data) != picture_id:", "if False:", DAMAGE),
    Mutant("schemas/storage/outputs.py", "            os.fsync(file.fileno())\n", "", OUTPUTS),
    Mutant("schemas/storage/outputs.py", "    fsync_directory(path.parent)\n", "", OUTPUTS),
    Mutant("schemas/storage/catalog.py", "            drop_mirror(directory)\n", "", MIRRORS),
    Mutant("crawler/importers/ingest.py", " or unfinished)", ")", HISTORY),
    Mutant("indexer/backup.py", "digest_file(path) != facts[\"blake3\"]", "False", DAMAGE),
)
# fmt: on


def is_caught(mutant: Mutant, place: Path) -> bool:
    """Whether its test fails on a copy of the program without the precaution."""
    source = copied(place)
    path = source / mutant.file
    text = path.read_text("utf-8")
    assert mutant.old in text, f"{mutant.file} has no {mutant.old!r} any more"
    text = text.replace(mutant.old, mutant.new)
    compile(text, path, "exec")  # what cannot be run would be "caught" by anything
    path.write_text(text, "utf-8")
    return fails(mutant.test, place, source)


def copied(place: Path) -> Path:
    """A fresh copy of the program."""
    source = place / "source"
    shutil.rmtree(source, ignore_errors=True)
    for folder in ("schemas", "crawler", "indexer", "search", "tests"):
        shutil.copytree(ROOT / folder, source / folder)
    shutil.copy(ROOT / "pyproject.toml", source)
    return source


def fails(test: str, place: Path, source: Path) -> bool:
    """Whether a test fails on a copy of the program."""
    if test == POWER:
        return bool(power_losses(place / "power", source))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=source, env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 1


def power_losses(place: Path, source: Path) -> list[str]:
    """Run the operations one after another and cut the power after each; what was lost."""
    shutil.rmtree(place, ignore_errors=True)
    (place / "worker").mkdir(parents=True)
    state = place / "state"
    draw_folder(state / "drawings", titles=1, pictures=2, hands=3, side_px=64)
    worker = Worker(place / "worker", source=source)
    try:
        for operation in ("import", "embed", "renew", "maintain", "forget"):
            sound = worker.trial(state, operation, finish=False)
            if sound["code"] != 0:  # what the operation before it left is not enough to go on
                return [f"{operation}: {sound['result']}"]
            found = worker.trial(
                state, operation, "count", power="lost", finish=False, journal=True
            )
            if found["after"] != sound["after"]:
                return [f"{operation}: {found['after']}"]
            for number in vouching(found["journal"]):
                cut = {"n": number + 1, "power": "last", "finish": False}
                after = worker.trial(state, operation, "kill", **cut)["after"]
                if after["code"] != 0:
                    return [f"{operation}, cut at {number}: {after['result']}"]
            shutil.rmtree(state)
            shutil.copytree(place / "worker/trial", state)
        return []
    finally:
        worker.close()


def vouching(journal: str) -> list[int]:
    """Calls that renamed checksums, a pointer or a generation into its place: the last three of
    an operation."""
    found = []
    for line in journal.splitlines():
        number, what, _, target = line.split("\t")
        names = Path(target).name in ("_checksums.json", "CURRENT") or "/index/g" in target
        if what == "rename" and names:
            found.append(int(number))
    return found[-3:]


def main() -> int:
    """Try every mutant (or these); the exit code is 4 when fewer than 95 % are caught."""
    chosen = [int(number) for number in sys.argv[1:]] or range(1, len(MUTANTS) + 1)
    with tempfile.TemporaryDirectory() as folder:
        place = scratch_place(Path(folder)) / f"toonsearch-mutants-{os.getpid()}"
        try:
            for test in sorted({MUTANTS[number - 1].test for number in chosen}):
                assert not fails(test, place, copied(place)), f"{test} fails without a mutant"
            survived = []
            for number in chosen:
                mutant = MUTANTS[number - 1]
                caught = is_caught(mutant, place)
                survived += [] if caught else [mutant]
                what = mutant.old.strip().splitlines()[0]
                print(f"{number:>2} {'caught  ' if caught else 'SURVIVED'} {mutant.file}: {what}",
                      flush=True)  # fmt: skip
        finally:
            shutil.rmtree(place, ignore_errors=True)
    share = 1 - len(survived) / len(chosen)
    print(f"{len(chosen)} mutants, {share:.0%} caught")
    return 0 if share >= 0.95 else 4


if __name__ == "__main__":
    sys.exit(main())
