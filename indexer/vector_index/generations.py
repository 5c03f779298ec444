"""Generations of the index: immutable folders, a pointer that moves last.

    index/<id>/manifest.json      everything below with length and BLAKE3, and its own digest
               vectors.faiss      row ids -> vectors
               candidates.faiss   of a large index: which of them to compare
               meta.sqlite        titles and pictures, enough to answer without the catalog
               subjects.*         subject vectors, where the encoder gives them (`subjects.py`)
               labels/            heads and calibration (`indexer/labels/predict.py`)
               checks.json        what was checked before publishing
               model/             the encoder that made the vectors
    index/CURRENT                 "<id> <digest of its manifest>"

Every file's digest is checked on every opening, before FAISS, SQLite or the network runtime sees a
byte. A file above LARGE_BYTES is read for that only when it is not the one any more that the build
wrote and digested: its length, inode or time of change is another. What changes a large file and
none of these, which is decay of the disk, is noticed wherever the `whole` generation is checked:
before publishing and going back, by `index verify`, `index list` and `doctor`, and by a backup. Subject
vectors alone are checked when a query first asks for them, and wherever the whole is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.labels.calibration import Calibration
from indexer.labels.predict import LabelModel
from indexer.vector_index.faiss_index import SearchPlan, VectorIndex
from indexer.vector_index.subjects import FILES as SUBJECT_FILES
from indexer.vector_index.subjects import SubjectIndex
from schemas.blocklist import BlockList
from schemas.errors import MissingIndexError, NoIndexError
from schemas.records import DECADE
from schemas.storage.fsio import (
    digest_file,
    fsync_directory,
    read_signed,
    refusal,
    replace_file,
    storage_error,
)
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    from indexer.embedding.clip import ClipModel

# --- Manifests: what a generation consists of, and the check that it still does.

FORMAT = 5
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
VECTORS, META, CHECKS = "vectors.faiss", "meta.sqlite", "checks.json"
REBUILD = "Run `toonsearch index build`, or `toonsearch index rollback` for the one before."


def no_index(layout: Layout) -> MissingIndexError:
    """What to say, and to do, while nothing has been built yet."""
    if layout.table("pictures").is_dir():
        return MissingIndexError("there is no index yet", "Run `toonsearch index build`.")
    return MissingIndexError(
        "there is no index yet", "`toonsearch open DIR` makes one of a folder of pictures."
    )


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read and check a manifest.

    Errors:  NoIndexError when it is missing, damaged or of another format
    """
    name = directory.name
    try:
        with (directory / MANIFEST).open("rb") as handle:
            data = handle.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise _unreadable(f"the manifest of generation {name}", error) from error
    try:
        body = read_signed(data)
    except ValueError as error:
        raise NoIndexError(f"generation {name} is damaged: {MANIFEST}", REBUILD) from error
    if body.get("format") != FORMAT:
        raise NoIndexError(
            f"generation {name} has format {body.get('format')}, this program reads {FORMAT}",
            REBUILD,
        )
    if body.get("id") != name:
        raise NoIndexError(f"generation {name} holds the files of {body.get('id')}", REBUILD)
    return body


def _unreadable(what: str, error: Exception) -> NoIndexError:
    said, hint = refusal(error) or ("cannot be read", REBUILD)
    return NoIndexError(f"{what} {said}", hint)


LARGE_BYTES = 64 << 20


def file_facts(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: length and digest, and of a large one which file it is.

    Errors:  OSError
    """
    size = path.stat().st_size
    facts = {"bytes": size, "blake3": digest_file(path)}
    return facts if size < LARGE_BYTES else {**facts, "written": _identity(path)}


def _identity(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_ino, found.st_mtime_ns]


def check_files(
    directory: Path,
    manifest: dict[str, Any],
    names: Iterable[str] | None = None,
    *,
    whole: bool = True,
) -> None:
    """Check every file's length and digest, or those of some; files that are not listed are
    ignored. Without `whole` a large file that is still the one that was written is not read.

    Errors:  NoIndexError names the first file that is missing or damaged
    """
    for name in sorted(manifest["files"] if names is None else names):
        facts = manifest["files"][name]
        path = directory / name
        try:
            right = path.stat().st_size == facts["bytes"]
            if right and (whole or facts.get("written") != _identity(path)):
                right = digest_file(path) == facts["blake3"]
        except (OSError, ValueError) as error:
            raise _unreadable(f"{name} of generation {directory.name}", error) from error
        if not right:
            raise NoIndexError(f"generation {directory.name} is damaged: {name}", REBUILD)


STAMP = "%Y%m%dT%H%M%S%f"
_ID = re.compile(r"g([0-9]{8}T[0-9]{12})-[0-9a-f]{8}")


class Generation:
    """A verified generation, open for reading.

    Holds a shared lock on its manifest while open, so that garbage collection in another
    process leaves it alone.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], hold: int) -> None:
        self.directory = directory
        self.manifest = manifest
        self.id: str = manifest["id"]
        self.model_id: str = manifest["model_id"]
        self.preprocessing_digest: str = manifest["preprocessing"]
        self.dimension: int = manifest["dimension"]
        self.pictures_count: int = manifest["counts"]["pictures"]
        self.titles_count: int = manifest["counts"]["titles"]
        self.authors_count: int = manifest["counts"]["authors"]
        self.plan = SearchPlan(**manifest["search"])
        self.model_dir = directory / "model"
        self._hold = hold

    @classmethod
    def open(
        cls, layout: Layout, generation_id: str | None = None, *, whole: bool = False
    ) -> Generation:
        """Open the published generation (or a named one) after checking every file; for the
        `whole`, large ones by their contents, and those too that are read on demand.

        Errors:  NoIndexError with one clear line
        """
        for attempt in range(3):
            current = _read_current(layout) if generation_id is None else None
            name = current[0] if current else generation_id
            if name is None:
                raise no_index(layout)
            directory = _existing(layout, name)
            try:
                hold = _share(directory / MANIFEST)
            except FileNotFoundError:
                if attempt < 2 and generation_id is None:
                    continue  # collected between reading the pointer and opening: read again
                raise NoIndexError(f"generation {name} has no manifest", REBUILD) from None
            except OSError as error:
                raise _unreadable(f"generation {name}", error) from error
            try:
                manifest = read_manifest(directory)
                if current and current[1] != manifest["digest"]:
                    raise NoIndexError(
                        f"the pointer {layout.current.name} and generation {name} do not agree",
                        REBUILD,
                    )
                on_demand = () if whole else SUBJECT_FILES
                names = set(manifest["files"]).difference(on_demand)
                check_files(directory, manifest, names, whole=whole)
                return cls(directory, manifest, hold)
            except BaseException:
                os.close(hold)
                raise
        raise NoIndexError("the index changes too fast to be opened", "Try again.")

    @cached_property
    def index(self) -> VectorIndex:
        """The vectors, memory mapped; ids are row ids."""
        return VectorIndex.open(self.directory / VECTORS, self.plan)

    @cached_property
    def subjects(self) -> SubjectIndex | None:
        """The subject vectors, mapped; None where the generation has none.

        Errors:  NoIndexError when they are damaged
        """
        if not self.has_subjects:
            return None
        check_files(self.directory, self.manifest, SUBJECT_FILES, whole=False)
        return SubjectIndex.open(self.directory)

    @property
    def clip_id(self) -> str | None:
        """The CLIP model of the subject vectors, None where the encoder made them."""
        by = self.manifest["inputs"].get("subjects_by", self.model_id)
        return str(by) if self.has_subjects and by != self.model_id else None

    @cached_property
    def clip(self) -> ClipModel | None:
        """That model, from the data root's models. Errors:  NoIndexError when it is not there"""
        if self.clip_id is None:
            return None
        from indexer.embedding.clip import ClipModel

        threads = len(os.sched_getaffinity(0))
        return ClipModel.open(self.directory.parents[1] / "models" / self.clip_id, threads)

    @property
    def has_subjects(self) -> bool:
        """Whether the generation holds subject vectors; reads nothing."""
        return all(name in self.manifest["files"] for name in SUBJECT_FILES)

    @property
    def row_ids(self) -> np.ndarray:
        """All row ids of the index, ascending; (N,) int64."""
        return self.index.row_ids

    def vectors(self, row_ids: np.ndarray | Sequence[int]) -> np.ndarray:
        """The stored vectors of pictures. Errors:  InputError when a row is not in the index"""
        return self.index.vectors(row_ids)

    @cached_property
    def meta(self) -> sqlite3.Connection:
        """The metadata, read-only; `immutable` because nothing ever writes there."""
        return self.connect_meta()

    def connect_meta(self) -> sqlite3.Connection:
        """A new read-only connection to the metadata (one for each thread or sandbox)."""
        path = (self.directory / META).resolve()
        return sqlite3.connect(
            f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )

    @cached_property
    def calibration(self) -> Calibration:
        """Percentiles and what was fitted; without reading the heads."""
        return Calibration.read(self.directory)

    @cached_property
    def labels(self) -> LabelModel:
        """Predicts labels from a vector and its neighbours."""
        return LabelModel.read(self.directory)

    @cached_property
    def checks(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / CHECKS).read_text("utf-8")))

    def close(self) -> None:
        """Let go of files; a second call does nothing."""
        if "meta" in self.__dict__:
            self.meta.close()
        if self._hold >= 0:
            os.close(self._hold)
            self._hold = -1

    def __enter__(self) -> Generation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _share(path: Path) -> int:
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # a file system without locks still serves readers
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return handle


def _existing(layout: Layout, name: str) -> Path:
    if not _ID.fullmatch(name):
        raise NoIndexError(
            f"{name!r} is not the name of a generation", "`toonsearch index list` shows them."
        )
    directory = layout.generation(name)
    if not directory.is_dir():
        raise NoIndexError(
            f"generation {name} does not exist", "`toonsearch index list` shows those that do."
        )
    return directory


def _read_current(layout: Layout) -> tuple[str, str] | None:
    try:
        text = layout.current.read_text("ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable("the index pointer", error) from error
    name, _, digest = text.strip().partition(" ")
    if not _ID.fullmatch(name) or text != f"{name} {digest}\n":
        raise NoIndexError("the index pointer is damaged", REBUILD)
    return name, digest


def current_generation_id(layout: Layout) -> str | None:
    """The published generation's id, None while there is none or the pointer is damaged."""
    try:
        current = _read_current(layout)
    except NoIndexError:
        return None
    return current[0] if current else None


def era_years_of(layout: Layout, generation_id: str | None) -> int:
    """How many years an era of a generation has, for who asks the catalog beside it: a decade's
    where there is no generation, or a damaged one.

    Only the manifest is read and checked: SQL need not wait for the digests of all vectors.
    """
    if generation_id is None:
        return DECADE
    try:
        return int(read_manifest(layout.generation(generation_id))["inputs"]["era_years"])
    except NoIndexError:
        return DECADE


def generation_ids(layout: Layout) -> list[str]:
    """Ids of all complete generations, oldest first; other names are ignored."""
    if not layout.index.is_dir():
        return []
    return sorted(d.name for d in layout.index.iterdir() if _ID.fullmatch(d.name) and d.is_dir())


def next_stamp(layout: Layout, now: datetime) -> str:
    """The time part of a new id: later than every existing one, even when the clock was set
    back, because names in order of age are what rollback and clearing away go by."""
    newest = max((_stamp(name) for name in generation_ids(layout)), default=None)
    if newest is not None and now <= newest:
        now = newest + timedelta(microseconds=1)
    return now.strftime(STAMP)


def _stamp(name: str) -> datetime:
    found = _ID.fullmatch(name)
    assert found is not None
    try:
        return datetime.strptime(found[1], STAMP).replace(tzinfo=UTC)
    except ValueError:  # the shape of a stamp, but the 99th of a month: somebody's debris
        return datetime.min.replace(tzinfo=UTC)


def publish(layout: Layout, generation_id: str) -> None:
    """Check a generation, then move the pointer to it.

    Errors:  NoIndexError when it is damaged or holds what was forgotten; the pointer stays
    """
    if generation_id in BlockList.read(layout).refused:
        raise NoIndexError(
            f"generation {generation_id} still holds what was forgotten",
            "Run `toonsearch index build`.",
        )
    with Generation.open(layout, generation_id, whole=True) as generation:
        pointer = f"{generation.id} {generation.manifest['digest']}\n"
    try:
        replace_file(layout.current, pointer.encode())
    except OSError as error:
        raise storage_error(error, "the index pointer") from error


def unpublish(layout: Layout) -> None:
    """Take the pointer away: nothing answers until the next publishing."""
    try:
        layout.current.unlink(missing_ok=True)
        fsync_directory(layout.index)
    except OSError as error:
        raise storage_error(error, "the index pointer") from error


# --- Which generations stay: going back to an older one, and clearing away what nobody needs.


def rollback(layout: Layout) -> str:
    """Move the pointer to the published generation's parent, or else the next older one.

    Errors:  NoIndexError when no older generation is sound
    """
    current = current_generation_id(layout)
    older = [name for name in generation_ids(layout) if current is None or name < current]
    if current is not None:
        with contextlib.suppress(NoIndexError):
            parent = read_manifest(layout.generation(current)).get("parent")
            older.sort(key=lambda name: (name == parent, name))
    for name in reversed(older):
        with contextlib.suppress(NoIndexError):
            publish(layout, name)
            return name
    raise NoIndexError("there is no older sound generation to go back to")


def collect_garbage(layout: Layout, keep: int, *, dry_run: bool = False) -> list[str]:
    """Remove generations beyond the newest `keep` sound ones, never the published one, its
    parent, or one that a reader holds. Returns the ids removed (or that would be)."""
    current = current_generation_id(layout)
    if current is None:
        return []  # without a pointer nobody can say which one is precious
    needed = {current}
    with contextlib.suppress(NoIndexError):
        needed.add(read_manifest(layout.generation(current)).get("parent") or current)
    newest = [name for name in reversed(generation_ids(layout)) if name <= current]
    needed |= set(newest[:keep])
    old = [name for name in generation_ids(layout) if name not in needed]
    return remove_generations(layout, old, dry_run=dry_run)


def remove_generations(layout: Layout, names: Iterable[str], *, dry_run: bool = False) -> list[str]:
    """Remove these generations, but none that a reader holds, and never the published one.

    Returns the ids removed (or that would be). Errors:  InputError when the disk refuses
    """
    current = current_generation_id(layout)
    removed = []
    for name in sorted(set(names) - {current}):
        with _unheld(layout.generation(name)) as free:
            if not free:
                continue
            removed.append(name)
            if not dry_run:
                _remove(layout, name)
    return removed


def _remove(layout: Layout, name: str) -> None:
    """Out of the index in one step, then file by file."""
    aside = layout.staging / f"removed-{name}"
    try:
        layout.staging.mkdir(parents=True, exist_ok=True)
        layout.generation(name).rename(aside)
        fsync_directory(layout.index)
    except OSError as error:
        raise storage_error(error, "the list of generations") from error
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _unheld(directory: Path) -> Iterator[bool]:
    """Whether no reader holds the generation; keeps readers out meanwhile."""
    import fcntl

    try:
        handle = os.open(directory / MANIFEST, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


# --- All generations and their states, as people ask for them.


@dataclass(frozen=True)
class GenerationInfo:
    """One generation as `toonsearch index list` shows it; `state` is ok or damaged: why."""

    id: str
    created: str
    published: bool
    pictures_count: int
    titles_count: int
    authors_count: int
    model_id: str
    parent: str | None
    bytes_count: int
    state: str
    kind: str = ""
    recall: float | None = None


BLANK: dict[str, Any] = {"counts": {}, "created": "", "model_id": "", "parent": None, "files": {}}


def verify_generation(layout: Layout, generation_id: str | None = None) -> GenerationInfo:
    """Check a generation (the published one by default).

    Errors:  NoIndexError says what is damaged
    """
    with Generation.open(layout, generation_id, whole=True) as generation:
        return _info(layout, generation.directory, generation.manifest, "ok")


def list_generations(layout: Layout) -> list[GenerationInfo]:
    """All generations, oldest first, each with its state."""
    found = []
    for name in generation_ids(layout):
        directory = layout.generation(name)
        try:
            manifest = read_manifest(directory)
            check_files(directory, manifest)
            found.append(_info(layout, directory, manifest, "ok"))
        except NoIndexError as error:
            found.append(_info(layout, directory, BLANK, error.message))
    return found


def _info(layout: Layout, directory: Path, manifest: dict[str, Any], state: str) -> GenerationInfo:
    counts = manifest["counts"]
    return GenerationInfo(
        id=directory.name,
        created=manifest["created"],
        published=current_generation_id(layout) == directory.name,
        pictures_count=counts.get("pictures", 0),
        titles_count=counts.get("titles", 0),
        authors_count=counts.get("authors", 0),
        model_id=manifest["model_id"],
        parent=manifest["parent"],
        bytes_count=sum(facts["bytes"] for facts in manifest["files"].values()),
        state=state,
        kind=manifest.get("search", {}).get("kind", ""),
        recall=manifest.get("search", {}).get("recall"),
    )
