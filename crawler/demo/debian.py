"""Debian's clip art as two packages: downloaded with apt, unpacked aside, renamed.

Nothing is installed. Where apt has no package lists, they are fetched into a private folder,
so root and an ordinary user take the same path. `python -m crawler.demo.debian DIR` needs nothing
but Python, so that `make demo` can fetch while it installs packages.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import InputError, LockedError, NetworkError, ToonsearchError
from schemas.progress import Progress

PACKAGES = ("openclipart-png", "openclipart-svg")
INSTALLED = Path("/usr/share/openclipart")
HINT = "Use your own pictures instead: toonsearch demo --images DIR"
_POLL_S = 0.2
_APT_OPTIONS = ("-q", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30")


def fetch(dest: Path, *, progress: Progress, installed: Path = INSTALLED) -> Path:
    """The folder with `png/` and `svg/`: the installed one, or one fetched below `dest`, which
    appears in one step, when everything in it is complete.

    Errors:  InputError without apt or when the disk refuses, NetworkError when nothing can be
             fetched, LockedError when another run is fetching
    """
    if (installed / "png").is_dir() and (installed / "svg").is_dir():
        return installed
    final = (dest / "openclipart").absolute()  # the tools run in other folders
    if final.is_dir():
        return final
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise InputError(
                f"{tool} is not on this machine, so {PACKAGES[0]} cannot be fetched", HINT
            )
    store = final.parent / f".{final.name}-fetch"
    try:
        store.mkdir(parents=True, exist_ok=True)
        with _only_run(store):
            for stale in store.glob("work-*"):  # of killed runs: nobody else holds the lock
                shutil.rmtree(stale, ignore_errors=True)
            if not final.is_dir():  # else another run finished while this one came to the lock
                with tempfile.TemporaryDirectory(dir=store, prefix="work-") as work:
                    packages = _download(Path(work), progress)
                    _unpack(packages, final, Path(work), progress)
    except OSError as error:
        raise InputError(f"cannot write the pictures to {final.parent} ({error})", HINT) from error
    return final


@contextmanager
def _only_run(store: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when the process ends, however."""
    with (store / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(
                "another run is fetching the same pictures", "Wait for it to end, then try again."
            ) from error
        yield


def _download(work: Path, progress: Progress) -> list[Path]:
    """The packages by apt's own lists, or by fresh ones; apt checks their size and digest."""
    trouble = ""
    for private in (False, True):
        options = [*_APT_OPTIONS, *(_private_lists(work) if private else ())]
        if private:
            progress(0, 0, "Fetching package lists")
            trouble = _run(["apt-get", *options, "update"], work) or trouble
        folder = work / f"packages-{private}"
        folder.mkdir()
        total = _size(options, work)

        def report(folder: Path = folder, total: int = total) -> None:
            done = 0
            for path in folder.glob("**/*"):
                with suppress(OSError):  # apt renames its files meanwhile
                    done += path.stat().st_size if path.is_file() else 0
            progress(done, total, "Downloading")

        failed = _run(["apt-get", *options, "download", *PACKAGES], folder, report)
        packages = sorted(folder.glob("*.deb"))
        if not failed and len(packages) == len(PACKAGES):
            return packages
        trouble = failed or trouble or "apt-get brought no file"
    raise NetworkError(f"apt cannot fetch {' and '.join(PACKAGES)} ({trouble})", HINT)


def _private_lists(work: Path) -> list[str]:
    """Options that make apt keep its lists and cache in a folder of ours."""
    lists, cache = work / "lists", work / "cache"
    (lists / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    settings = {
        "Dir::State::Lists": str(lists),
        "Dir::Cache": str(cache),
        # With root, apt would hand the download to a user who cannot enter our folder.
        "APT::Sandbox::User": "root",
        # The system's hooks after an update tend to system folders; they are not meant here.
        "APT::Update::Post-Invoke": "",
        "APT::Update::Error-Mode": "any",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _size(options: Sequence[str], work: Path) -> int:
    """The bytes of packages by apt's lists, 0 when they do not have them."""
    command = ["apt-cache", *options, "show", "--no-all-versions", *PACKAGES]
    done = subprocess.run(
        command, cwd=work, env=_plain(), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return sum(map(int, re.findall(rb"^Size: (\d+)$", done.stdout, re.MULTILINE)))


def _unpack(packages: Sequence[Path], final: Path, work: Path, progress: Progress) -> None:
    """Unpack beside the final place, then rename: the only step that makes it visible."""
    tree = work / "tree"
    for count, package in enumerate(packages, 1):
        progress(count, len(packages), "Unpacking")
        if trouble := _run(["dpkg-deb", "-x", str(package), str(tree)], work):
            raise InputError(
                f"dpkg-deb cannot unpack {package.name} ({trouble})",
                "Free some space and try again.",
            )
    inside = tree / INSTALLED.relative_to("/")
    if not inside.is_dir():
        raise InputError(f"the packages hold no folder {INSTALLED}", "Is this another release?")
    inside.rename(final)


def _run(command: list[str], folder: Path, report: Callable[[], None] = lambda: None) -> str:
    """Run a tool to its end; "" when it went well, else its own last complaint.

    Its output goes to a file: a pipe that nobody empties would stop it.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=folder, env=_plain(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            while process.poll() is None:
                time.sleep(_POLL_S)
                report()
        except BaseException:  # Ctrl-C above all: leave no orphan that goes on downloading
            process.kill()
            process.wait()
            raise
        if process.returncode == 0:
            return ""
        log.seek(0)
        lines = log.read().decode("utf-8", "replace").splitlines()
    complaints = [line for line in lines if line.startswith(("E:", "Err", "dpkg-deb:"))] or lines
    return complaints[-1].strip() if complaints else f"exit code {process.returncode}"


def _plain() -> dict[str, str]:
    """The environment with English, unadorned messages, whatever the user's language."""
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


if __name__ == "__main__":
    with suppress(ToonsearchError):  # the demo tries again, and says what is wrong
        fetch(Path(sys.argv[1]), progress=lambda done, total, what="", /: None)
