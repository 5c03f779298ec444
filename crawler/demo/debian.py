"""Debian packages as a source of pictures: download with apt, unpack aside, rename.

Nothing is installed. Where apt has no package lists, they are fetched into a private folder,
so root and an ordinary user take the same path.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from schemas.errors import InputError, LockedError, NetworkError, ToonsearchError

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done and how much there is (0 = unknown)."""

_POLL_S = 0.2
_APT_OPTIONS = ("-q", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30")
_SPACE_FACTOR = 4
"""Room to ask for, in package sizes: the package, its files, and as much again to spare."""


class Offer(NamedTuple):
    """What apt's signed lists say about a package."""

    name: str
    size_bytes: int
    sha256: str


def unpack_packages(
    names: Sequence[str], inside: str, final: Path, *, hint: str, progress: Progress
) -> Path:
    """Download packages and put their common folder `inside` at `final`.

    `final` appears in one step, when everything in it is complete; packages already downloaded
    are used by the next run. When `final` exists, this returns at once.

    Errors:  InputError without apt or without room, NetworkError when nothing can be
             fetched, LockedError when another run is at it
    """
    if final.is_dir():
        return final
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise InputError(
                f"{tool} is not on this machine, so {names[0]} cannot be fetched", hint
            )
    store = final.parent / f".{final.name}-fetch"
    try:
        store.mkdir(parents=True, exist_ok=True)
        with _only_run(store):
            if final.is_dir():  # another run finished while this one came to the lock
                return final
            for stale in store.glob("work-*"):  # of killed runs: the lock says nobody has them
                shutil.rmtree(stale, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=store, prefix="work-") as work:
                packages = _obtain(names, store, Path(work), hint, progress)
                _unpack(packages, inside, final, Path(work), progress)
            for package in store.glob("*.deb"):  # the lock's own file stays: others may hold it
                package.unlink()
    except OSError as error:
        raise InputError(f"cannot write the pictures to {final.parent} ({error})", hint) from error
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


def _obtain(
    names: Sequence[str], store: Path, work: Path, hint: str, progress: Progress
) -> list[Path]:
    """The packages as verified files: by apt's own lists, then by fresh ones."""
    trouble = "apt offers no such package"
    for private in (False, True):
        options = [*_APT_OPTIONS, *(_private_lists(work) if private else ())]
        if private:
            progress("fetching package lists", 0, 0)
            trouble = _run(["apt-get", *options, "update"], work) or trouble
        offers = [offer for name in names if (offer := _offer(name, options, work)) is not None]
        if len(offers) < len(names):
            continue
        needed = _SPACE_FACTOR * sum(offer.size_bytes for offer in offers)
        free = shutil.disk_usage(store).free
        if free < needed:
            room = f"{free // 10**6:,} MB free and the pictures need {needed // 10**6:,} MB"
            raise InputError(f"{store.parent} has {room}", hint)
        found = _download(offers, options, store, work, progress)
        if isinstance(found, list):
            return found
        trouble = found
    raise NetworkError(f"apt cannot fetch {' and '.join(names)} ({trouble})", hint)


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


def _offer(name: str, options: Sequence[str], work: Path) -> Offer | None:
    """Size and digest from apt's lists, whose signature apt has checked."""
    command = ["apt-cache", *options, "show", "--no-all-versions", name]
    done = subprocess.run(
        command, cwd=work, env=_plain(), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    fields = dict(
        line.split(": ", 1)
        for line in done.stdout.decode("utf-8", "replace").splitlines()
        if ": " in line and not line.startswith(" ")
    )
    size, digest = fields.get("Size", ""), fields.get("SHA256", "")
    if done.returncode != 0 or not size.isdecimal() or len(digest) != 64:
        return None
    return Offer(name, int(size), digest)


def _download(
    offers: Sequence[Offer], options: Sequence[str], store: Path, work: Path, progress: Progress
) -> list[Path] | str:
    """Verified package files in the order of the offers, or what went wrong."""
    total, done = sum(offer.size_bytes for offer in offers), 0
    files = []
    for offer in offers:
        file = store / f"{offer.name}-{offer.sha256[:16]}.deb"
        if not (file.is_file() and _digest(file) == offer.sha256):
            folder = work / offer.name
            folder.mkdir(exist_ok=True)

            def report(folder: Path = folder, before: int = done) -> None:
                progress("downloading", before + _bytes_in(folder), total)

            trouble = _run(["apt-get", *options, "download", offer.name], folder, report)
            fresh = next(iter(sorted(folder.glob("*.deb"))), None)
            if trouble or fresh is None:
                return trouble or f"apt-get brought no file for {offer.name}"
            # apt checks this itself, but not what a full disk cut short.
            if fresh.stat().st_size != offer.size_bytes or _digest(fresh) != offer.sha256:
                return f"{offer.name} arrived damaged"
            fresh.replace(file)
        done += offer.size_bytes
        progress("downloading", done, total)
        files.append(file)
    return files


def _unpack(
    packages: Sequence[Path], inside: str, final: Path, work: Path, progress: Progress
) -> None:
    """Unpack beside the final place, then rename: the only step that makes it visible."""
    tree = work / "tree"
    for count, package in enumerate(packages):
        progress("unpacking", count, len(packages))
        if trouble := _run(["dpkg-deb", "-x", str(package), str(tree)], work):
            raise ToonsearchError(f"dpkg-deb cannot unpack {package.name} ({trouble})")
    if not (tree / inside).is_dir():
        raise InputError(f"the packages hold no folder {inside}", "Is this another release?")
    (tree / inside).rename(final)
    progress("unpacking", len(packages), len(packages))


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


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("**/*"):
        with suppress(OSError):  # apt renames its files meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
