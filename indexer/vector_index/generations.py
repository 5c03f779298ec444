"""Generations of the index: immutable folders, a pointer that moves last.

    index/<id>/manifest.json      everything below with length and BLAKE3, and its own digest
               vectors.faiss      row ids -> vectors
               grey_lengths.f32   how long each becomes in grey (`indexer/embedding/in_grey.py`)
               meta.sqlite        titles and pictures, enough to answer without the catalog
               calibration.json   percentiles, temperatures, the unknown hand
               heads.json, heads.safetensors   what the pictures of each label have in common
               checks.json        what was proven before publishing
               model/             the encoder that made the vectors
    index/CURRENT                 "<id> <digest of its manifest>"

Every file's digest is checked on every opening, before FAISS, SQLite or the network
runtime sees a byte. BLAKE3 makes that affordable (51 MB in 16 to 23 ms where SHA-256 took
37 ms with SHA instructions and 190 ms without), so there is no "verified" stamp that could
go stale, and decay of the disk is noticed as well as a write.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from indexer.labels.head_files import Heads, has_heads, read_heads
from indexer.labels.labels import Calibration
from indexer.vector_index.grey_lengths import GREY_LENGTHS, CatalogInGrey
from schemas.blocklist import BlockList
from schemas.errors import InputError, NoIndexError
from schemas.records import DECADE
from schemas.storage.fsio import (
    digest_file,
    fsync_directory,
    read_signed,
    replace_file,
    storage_error,
)
from schemas.storage.layout import Layout

# --- Manifests: what a generation consists of, and the proof that it still does.

FORMAT = 2
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
REBUILD = "Run `toonsearch index build`, or `toonsearch index rollback` for the one before."


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read and prove a manifest.

    Errors:  NoIndexError when it is missing, damaged or of a newer format
    """
    name = directory.name
    try:
        with (directory / MANIFEST).open("rb") as handle:
            data = handle.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise NoIndexError(
            f"generation {name} has no readable manifest ({error.strerror})", REBUILD
        ) from error
    try:
        body = read_signed(data)
    except ValueError as error:
        raise NoIndexError(f"generation {name} is damaged: {MANIFEST}", REBUILD) from error
    if body.get("format") != FORMAT:
        raise NoIndexError(
            f"generation {name} has format {body.get('format')}, this program reads {FORMAT}",
            "Upgrade toonsearch, or rebuild with `toonsearch index build`.",
        )
    if body.get("id") != name:
        raise NoIndexError(f"generation {name} holds the files of {body.get('id')}", REBUILD)
    return body


def check_files(directory: Path, manifest: dict[str, Any]) -> None:
    """Prove every file's length and digest; files that are not listed are ignored.

    Errors:  NoIndexError names the first file that is missing or damaged
    """
    for name, facts in sorted(manifest["files"].items()):
        path = directory / name
        try:
            right = path.stat().st_size == facts["bytes"] and (digest_file(path) == facts["blake3"])
        except (OSError, ValueError) as error:
            raise NoIndexError(
                f"generation {directory.name} is damaged: {name} cannot be read", REBUILD
            ) from error
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
        self.model_dir = directory / "model"
        self._hold = hold

    @classmethod
    def open(cls, layout: Layout, generation_id: str | None = None) -> Generation:
        """Open the published generation (or a named one) after proving every file.

        Errors:  NoIndexError with one clear line
        """
        for attempt in range(3):
            current = _read_current(layout) if generation_id is None else None
            name = current[0] if current else generation_id
            if name is None:
                raise NoIndexError("there is no index yet", "Run `toonsearch index build`.")
            directory = _existing(layout, name)
            try:
                hold = _share(directory / MANIFEST)
            except FileNotFoundError:
                if attempt < 2 and generation_id is None:
                    continue  # collected between reading the pointer and opening: read again
                raise NoIndexError(f"generation {name} has no manifest", REBUILD) from None
            try:
                manifest = read_manifest(directory)
                if current and current[1] != manifest["digest"]:
                    raise NoIndexError(
                        f"the pointer {layout.current.name} and generation {name} do not agree",
                        REBUILD,
                    )
                check_files(directory, manifest)
                return cls(directory, manifest, hold)
            except BaseException:
                os.close(hold)
                raise
        raise NoIndexError("the index changes too fast to be opened", "Try again.")

    @cached_property
    def index(self) -> Any:
        """The FAISS index, memory mapped; ids are row ids."""
        import faiss

        return faiss.read_index(str(self.directory / "vectors.faiss"), faiss.IO_FLAG_MMAP_IFC)

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Row ids ascending, and where each lies in the index; both (N,) int64."""
        import faiss

        ids = faiss.vector_to_array(self.index.id_map)
        order = np.argsort(ids, kind="stable")  # sorted already: 0.3 ms for 100,000
        return ids[order], order

    @property
    def row_ids(self) -> np.ndarray:
        """All row ids of the index, ascending; (N,) int64."""
        return self._places[0]

    def vectors(self, row_ids: np.ndarray | Sequence[int]) -> np.ndarray:
        """The stored vectors of pictures, as the index has them (float16 in float32).

        Shapes:  (N,) -> (N, D) float32
        Errors:  InputError when a row is not in the index
        """
        known, order = self._places
        wanted = np.asarray(row_ids, dtype=np.int64)
        places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        if len(wanted) and not (len(known) and np.array_equal(known[places], wanted)):
            raise InputError("the index does not hold such a picture")
        found = np.empty((len(wanted), self.dimension), np.float32)
        for row, place in enumerate(order[places].tolist() if len(wanted) else ()):
            self.index.index.reconstruct(place, found[row])
        return found

    @cached_property
    def in_grey(self) -> CatalogInGrey | None:
        """What its vectors become in grey; None where the model or an older index cannot tell."""
        if GREY_LENGTHS not in self.manifest["files"]:
            return None
        return CatalogInGrey.read(self.directory, self._places)

    @cached_property
    def meta(self) -> sqlite3.Connection:
        """The metadata, read-only; `immutable` because nothing ever writes there."""
        return self.connect_meta()

    def connect_meta(self) -> sqlite3.Connection:
        """A new read-only connection to the metadata (one for each thread or sandbox)."""
        path = (self.directory / "meta.sqlite").resolve()
        return sqlite3.connect(
            f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )

    @cached_property
    def calibration(self) -> Calibration:
        return Calibration.from_json((self.directory / "calibration.json").read_text("utf-8"))

    @cached_property
    def heads(self) -> Heads:
        """What the pictures of each label have in common; none in generations of 0.1.0."""
        return read_heads(self.directory) if has_heads(self.directory) else Heads({})

    @cached_property
    def checks(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "checks.json").read_text("utf-8")))

    def close(self) -> None:
        """Let go of files; a second call does nothing."""
        if "meta" in self.__dict__:
            self.meta.close()
        if self._hold >= 0:
            os.close(self._hold)
            self._hold = -1

    def __enter__(self) -> Generation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        raise NoIndexError("the index pointer cannot be read", REBUILD) from error
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

    Only the manifest is read and proven: SQL need not wait for the digests of all vectors.
    """
    if generation_id is None:
        return DECADE
    try:
        inputs = read_manifest(layout.generation(generation_id)).get("inputs", {})
    except NoIndexError:
        return DECADE
    return int(inputs.get("era_years", DECADE))


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
    """Prove a generation, then move the pointer to it.

    Errors:  NoIndexError when it is damaged or holds what was forgotten; the pointer stays
    """
    if generation_id in BlockList.read(layout).refused:
        raise NoIndexError(
            f"generation {generation_id} still holds what was forgotten",
            "Run `toonsearch index build`.",
        )
    with Generation.open(layout, generation_id) as generation:
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
