"""A copy of the catalog on object storage, kept up by `push` and taken from there by `pull`.

    s3://BUCKET/PREFIX/tables/<name>/     Delta tables, which Spark, Trino and others read there
                       tables/<name>/_checksums.json   version and digests; put last
                       pictures/ab/cd/    stored pictures by their content
                       forgotten.json     the block list

Everything lies there as in a data root. A table's files are put before the entries of its log, these
in order, and `_checksums.json` last, on the condition that nobody replaced it meanwhile: a push
that is killed leaves the tables as they were, and the next one goes on.

There is one history: whoever pushes or pulls must have seen the last state of the other side. Which
states a data root has seen stands in its `remote.json`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from indexer.vector_index.generations import generation_ids
from schemas.attempt import at_once
from schemas.blocklist import BlockList
from schemas.errors import InputError, NetworkError, StorageError, UsageError
from schemas.images import PictureError, picture_id_of, stored_bytes
from schemas.progress import Progress
from schemas.storage import commits
from schemas.storage.catalog import Catalog
from schemas.storage.commits import CHECKSUMS, TableChecksums
from schemas.storage.fsio import (
    digest_file,
    digest_once,
    fsync_directory,
    read_signed,
    replace_file,
    scratch_folder,
    signed_bytes,
    storage_errors,
)
from schemas.storage.layout import Layout
from schemas.storage.mirrors import LOG
from schemas.storage.tables import TABLES

FORMAT = 1
THREADS = 16
"""Requests at once; they wait for the network."""
AHEAD = 4 * THREADS
MAX_PROBLEMS = 20
MAX_SMALL_BYTES = 1 << 26
MAX_FORGOTTEN_BYTES = MAX_PICTURE_BYTES = 1 << 30
RETRY_S = 60
RETRIES = 8
_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([\x21-\x7e]*))?")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3}[^:]*)")
_PICTURE = re.compile(r"([0-9a-f]{2})/([0-9a-f]{2})/\1\2[0-9a-f]{60}\.[a-z0-9]{1,8}")
_FILE = re.compile(r"[^/]+\.parquet|_delta_log/[0-9]{20}\.(json|checkpoint[^/]*\.parquet)")


@dataclass
class SyncReport:
    """What a push or pull did: tables that were behind, files and pictures that were copied,
    objects or files that were removed, bytes copied; `problems` are the first few pictures that
    could not be copied, `failed` is how many."""

    url: str
    tables: list[str] = field(default_factory=list)
    files: int = 0
    pictures: int = 0
    removed: int = 0
    bytes_count: int = 0
    failed: int = 0
    problems: list[str] = field(default_factory=list)
    new_marks: bool = False
    """Whether a pull brought marks of what is forgotten: an index here may still hold it."""

    def fail(self, name: str, why: str) -> None:
        self.failed += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{name}: {why}")


# --- The store itself.


class Place:
    """A prefix of a bucket. Credentials and the endpoint come from the environment (AWS_...).

    Errors:  NetworkError when it cannot be reached or refuses, after some retries
    """

    def __init__(self, url: str) -> None:
        found = _ADDRESS.fullmatch(url)
        prefix = (found[2] or "").strip("/") if found else ""
        if not found or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
            raise UsageError(
                f"{url!r} is not the address of a bucket",
                "Write s3://my-bucket or s3://my-bucket/folder: buckets have small letters, digits,"
                " dots and hyphens.",
            )
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError as error:
            raise UsageError(
                "obstore is not installed", "Install the extra: pip install 'toonsearch[s3]'."
            ) from error
        self.url = f"s3://{found[1]}" + (f"/{prefix}" if prefix else "")
        self._obstore: Any = obstore
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        with self._told():
            self._store = S3Store(
                found[1],
                prefix=prefix or None,
                config={
                    "conditional_put": "etag",
                    "checksum_algorithm": "SHA256",
                    **({"endpoint": endpoint} if endpoint else {}),
                },
                client_options={"allow_http": endpoint.startswith("http://")},
                retry_config={
                    "max_retries": RETRIES,
                    "retry_timeout": timedelta(seconds=RETRY_S),
                },
            )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever the store raises, as one line without what it was sent."""
        try:
            yield
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise self._error(error) from None

    def _error(self, error: BaseException) -> NetworkError:
        text = str(error)
        parts = [found[1].strip() for one in (_STATUS, _CODE) if (found := one.search(text))]
        why = ", ".join(parts) or "no answer"
        if "169.254." in text or ("redential" in text and not parts):
            why = "no credentials"  # nor a machine of the cloud, which has some of its own
        return NetworkError(
            f"{self.url} failed ({why})",
            "Look after the bucket, AWS_ENDPOINT_URL and the credentials in the environment (AWS_...);"
            " then run the same command again: it goes on.",
        )

    def keys(self, folder: str) -> set[str]:
        """Every object below a folder, relative to it."""
        start = f"{folder}/" if folder else ""
        with self._told():
            pages = self._obstore.list(self._store, folder, chunk_size=1000)
            return {one["path"].removeprefix(start) for page in pages for one in page}

    def folders(self, folder: str) -> set[str]:
        """The folders in a folder."""
        with self._told():
            found = self._obstore.list_with_delimiter(self._store, folder)["common_prefixes"]
        return {path.rstrip("/").rpartition("/")[2] for path in found}

    def get(self, key: str, max_bytes: int = MAX_SMALL_BYTES) -> tuple[bytes, str] | None:
        """An object and its entity tag, None when there is none.

        Errors:  InputError when it is longer than it may be
        """
        from obstore.exceptions import BaseError

        try:
            found = self._obstore.get(self._store, key)
            if found.meta["size"] > max_bytes:
                raise InputError(f"{self.url}/{key} is larger than it can be")
            return bytes(found.bytes()), found.meta["e_tag"] or ""
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._error(error) from None
            return None
        except BaseError as error:
            raise self._error(error) from None

    def fetch(self, key: str, target: Path, max_bytes: int | None = None) -> bool:
        """Write an object into a file, which is synced; False when there is none, or a larger one."""
        from obstore.exceptions import BaseError

        try:
            found = self._obstore.get(self._store, key)
            if max_bytes is not None and found.meta["size"] > max_bytes:
                return False
            with target.open("wb") as file:
                for part in found.stream():
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            return True
        except FileNotFoundError:
            return False
        except BaseError as error:
            raise self._error(error) from None

    def put(self, key: str, data: bytes | Path) -> None:
        """Put an object, whatever lies there."""
        with self._told():
            self._obstore.put(self._store, key, data)

    def put_if(self, key: str, data: bytes, tag: str | None) -> bool:
        """Put an object in the place of the one with this entity tag (None: of none); False when
        there is another by now, unless that is the same."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            mode = "create" if tag is None else {"e_tag": tag}
            self._obstore.put(self._store, key, data, mode=mode)
            return True
        except (AlreadyExistsError, PreconditionError):
            # It may be ours: the answer to it was lost, and it was sent again.
            found = self.get(key, max(len(data), MAX_SMALL_BYTES))
            return found is not None and found[0] == data
        except (self._obstore.exceptions.BaseError, OSError) as error:
            raise self._error(error) from None

    def remove(self, keys: Iterable[str]) -> int:
        """Remove objects; returns how many."""
        listed = list(keys)
        with self._told():
            for start in range(0, len(listed), 1000):
                self._obstore.delete(self._store, listed[start : start + 1000])
        return len(listed)


# --- States: which version a table has, on either side, and which were seen.


@dataclass(frozen=True)
class TableState:
    """A table's record as its bytes, parsed, and the entity tag of the object that it is."""

    data: bytes
    checksums: TableChecksums
    tag: str | None = None

    @property
    def id(self) -> str:
        """The version with the digest of its log entry, which no two commits share."""
        version = self.checksums.version
        return _id(version, self.checksums.files.get(f"{LOG}/{version:020d}.json", ""))

    @property
    def files(self) -> dict[str, str]:
        """Digests of the files that the version needs: the record may still name entries of the log
        that its newest checkpoint holds, and which are gone."""
        checkpoint = max(
            (commits.log_number(name) for name in self.checksums.files if "checkpoint" in name),
            default=0,
        )
        return {
            name: digest
            for name, digest in self.checksums.files.items()
            if not name.startswith(LOG) or commits.log_number(name) >= checkpoint
        }

    @property
    def past(self) -> list[str]:
        """The same for every version whose entry is still there."""
        return [
            _id(commits.log_number(name), digest)
            for name, digest in sorted(self.checksums.files.items())
            if name.startswith(LOG) and name.endswith(".json")
        ]


def _id(version: int, digest: str) -> str:
    return f"{version}:{digest}"


def _state(table: Path, data: bytes, tag: str | None = None) -> TableState | None:
    """Errors:  InputError when the record is damaged or names anything but a table's files"""
    checksums = commits.parse_checksums(table, data)
    for name in checksums.files:
        if not _FILE.fullmatch(name):
            raise commits.damaged(table, f"{CHECKSUMS} names {name!r}")
    return TableState(data, checksums, tag) if checksums.version >= 0 else None


def _here(layout: Layout) -> dict[str, TableState]:
    found: dict[str, TableState] = {}
    for name in TABLES:
        with contextlib.suppress(FileNotFoundError):
            data = (layout.table(name) / CHECKSUMS).read_bytes()
            state = _state(layout.table(name), data)
            if state is not None:
                found[name] = state
    return found


def _there(place: Place, layout: Layout) -> dict[str, TableState]:
    found: dict[str, TableState] = {}
    for name in TABLES:
        answer = place.get(f"tables/{name}/{CHECKSUMS}")
        state = answer and _state(layout.table(name), *answer)
        if state:
            found[name] = state
    return found


class _Seen:
    """States of each table that this data root and a place had in common."""

    def __init__(self, layout: Layout, url: str) -> None:
        self.path, self.url = layout.remote, url
        self.places: dict[str, dict[str, list[str]]] = {}
        with contextlib.suppress(FileNotFoundError):
            try:
                body = read_signed(self.path.read_bytes())
                if body["format"] != FORMAT:
                    raise ValueError("it has another format")
                self.places = body["places"]
            except (ValueError, KeyError, TypeError) as error:
                raise StorageError(
                    f"{self.path} is damaged ({error})",
                    "Remove it, and pull into an empty data folder.",
                ) from error

    def has(self, table: str, state: TableState) -> bool:
        return state.id in self.places.get(self.url, {}).get(table, [])

    def write(self, states: dict[str, TableState]) -> None:
        """Note what both sides have now."""
        self._write({name: [state.id] for name, state in states.items()})

    def expect(self, states: dict[str, TableState]) -> None:
        """Note, beside what they had, what a run that is killed may leave on the other side."""
        before = self.places.get(self.url, {})
        self._write(
            {name: sorted({*before.get(name, []), *one.past}) for name, one in states.items()}
        )

    def _write(self, ids: dict[str, list[str]]) -> None:
        self.places[self.url] = {**self.places.get(self.url, {}), **ids}
        replace_file(self.path, signed_bytes({"format": FORMAT, "places": self.places}))


# --- Pushing.


def push(layout: Layout, url: str, *, progress: Progress | None = None) -> SyncReport:
    """Bring a place up to this catalog. Needs no lock: files of tables and pictures never change,
    and what a version names is read from one record. Pictures that are gone or damaged here are
    problems of their own.

    Errors:  UsageError for an address or without the extra; NetworkError; InputError when there is no
             catalog, when the place has changes that were not pulled, or when a file of a table
             is damaged or was removed meanwhile
    """
    place = Place(url)
    here = _here(layout)
    if "pictures" not in here:
        raise InputError(f"there is no catalog in {layout.root} to push")
    there, seen = _there(place, layout), _Seen(layout, place.url)
    for name, state in there.items():
        mine = here.get(name)
        if (
            mine is None
            or mine.checksums.version < state.checksums.version
            or (state.id != mine.id and not seen.has(name, state))
        ):
            raise InputError(
                f"{place.url} has changes to {name!r} that are not in {layout.root}",
                "Push to another place, or `toonsearch catalog pull` into an empty data folder.",
            )
    report = SyncReport(place.url)
    with storage_errors(f"the copy in {place.url}"):
        if layout.blocked.exists():
            place.put(layout.blocked.name, layout.blocked.read_bytes())
        version = here["pictures"].checksums.version
        gone = _push_pictures(place, layout, version, report, progress)
        behind = {name: one for name, one in here.items() if not _same(there.get(name), one)}
        for name, state in behind.items():
            _push_files(place, layout.table(name), name, state, there.get(name), report)
        seen.expect(behind)
        for name, state in behind.items():
            tag = there[name].tag if name in there else None
            if not place.put_if(f"tables/{name}/{CHECKSUMS}", state.data, tag):
                raise InputError(
                    f"{place.url} was changed by another machine meanwhile", "Run it again."
                )
            report.tables.append(name)
        old = [
            f"tables/{name}/{file}"
            for name in here
            for file in place.keys(f"tables/{name}") - here[name].files.keys()
            if _FILE.fullmatch(file)
        ]
        report.removed = place.remove([*old, *gone])
        seen.write(here)
    return report


def _same(one: TableState | None, other: TableState) -> bool:
    return one is not None and one.data == other.data


def _push_pictures(
    place: Place, layout: Layout, version: int, report: SyncReport, progress: Progress | None
) -> list[str]:
    """Put pictures that a version of the catalog names; returns the keys of others."""
    import pyarrow.compute as pc

    named = pc.unique(pc.drop_null(Catalog(layout).read("pictures", ["file"], version)["file"]))
    gone: list[str] = []
    known = 0

    def missing() -> Iterator[str]:
        """Folder by folder, so that no more names are in memory than one has."""
        nonlocal known
        there = place.folders("pictures")
        for folder in sorted(
            {*there, *pc.unique(pc.utf8_slice_codeunits(named, 0, 2)).to_pylist()}
        ):
            files = set(named.filter(pc.starts_with(named, f"{folder}/")).to_pylist())
            keys = place.keys(f"pictures/{folder}") if folder in there else set()
            listed = {f"{folder}/{key}" for key in keys}
            extra = filter(_PICTURE.fullmatch, listed - files)
            gone.extend(f"pictures/{one}" for one in extra)
            known += len(listed & files)
            yield from sorted(files - listed)

    def put(file: str) -> int | PictureError:
        try:
            data = stored_bytes(layout.picture(file), Path(file).stem)
        except PictureError as error:
            return error
        place.put(f"pictures/{file}", data)
        return len(data)

    for done, (file, outcome) in enumerate(at_once(put, missing(), AHEAD, THREADS), 1):
        if isinstance(outcome, PictureError):
            report.fail(file, outcome.message)
        else:
            report.pictures += 1
            report.bytes_count += outcome
        if progress:
            progress(done + known, len(named))
    return gone


def _push_files(
    place: Place,
    table: Path,
    name: str,
    state: TableState,
    before: TableState | None,
    report: SyncReport,
) -> None:
    """Data files of a table, then its log. What the record there does not name is put again: a push
    that was killed may have left it, of another version."""
    known = before.files if before else {}
    new = {file: one for file, one in state.files.items() if known.get(file) != one}

    def put(file: str) -> int:
        path = table / file
        try:
            if digest_once(path) != new[file]:
                raise commits.damaged(table, f"{file} is damaged")
            size = path.stat().st_size
            if not file.startswith(LOG):
                place.put(f"tables/{name}/{file}", path)
            elif not place.put_if(f"tables/{name}/{file}", path.read_bytes(), None):
                raise InputError(
                    f"{place.url}/tables/{name}/{file} is of another machine",
                    "If none is pushing there now, remove that object and run it again.",
                )
            return size
        except FileNotFoundError as error:
            raise InputError(
                f"the catalog table {name!r} was tidied meanwhile", "Run it again."
            ) from error

    data = sorted(file for file in new if not file.startswith(LOG))
    for _, size in at_once(put, data, AHEAD, THREADS):
        report.files, report.bytes_count = report.files + 1, report.bytes_count + size
    for file in sorted(new.keys() - set(data), key=lambda file: (commits.log_number(file), file)):
        report.files, report.bytes_count = report.files + 1, report.bytes_count + put(file)


# --- Pulling.


def pull(layout: Layout, url: str, *, progress: Progress | None = None) -> SyncReport:
    """Bring this catalog up to a place. Every byte is verified; pictures come before the rows that
    name them. Needs the data root's lock.

    Errors:  UsageError, NetworkError as of `push`; InputError when there is nothing, when what lies
             there is damaged, or when this catalog has changes that were not pushed
    """
    place = Place(url)
    there, here, seen = _there(place, layout), _here(layout), _Seen(layout, place.url)
    if "pictures" not in there:
        raise InputError(f"there is no catalog in {place.url}", "Push one there first.")
    for name, state in there.items():
        mine = here.get(name)
        if mine is not None and mine.id != state.id and not seen.has(name, mine):
            raise InputError(
                f"{layout.root} has changes to {name!r} that are not in {place.url}",
                "Pull into an empty data folder: toonsearch --data DIR catalog pull ...",
            )
    report = SyncReport(place.url)
    behind = {name: one for name, one in there.items() if not _same(here.get(name), one)}
    with (
        storage_errors(f"the data root {layout.root}"),
        scratch_folder(layout.staging / "pull") as aside,
    ):
        aside.mkdir(parents=True)
        _pull_marks(place, layout, aside, report)
        extra = _pull_pictures(place, layout, aside, report, progress)
        seen.expect(behind)
        for name, state in behind.items():
            _pull_table(place, layout, aside / name, name, state, report)
            report.tables.append(name)
        seen.write(there)
        report.removed = _drop_pictures(layout, extra)
    return report


def _pull_marks(place: Place, layout: Layout, aside: Path, report: SyncReport) -> None:
    """What is forgotten there is forgotten here, and the other way round."""
    found = place.get(layout.blocked.name, MAX_FORGOTTEN_BYTES)
    if found is None:
        return
    (aside / layout.blocked.name).write_bytes(found[0])
    theirs, mine = BlockList.read(Layout(aside)), BlockList.read(layout)
    marks = {kind: mine.marks[kind] | theirs.marks[kind] for kind in mine.marks}
    if marks != mine.marks:
        report.new_marks = True
        older = mine.refused | frozenset(generation_ids(layout))
        replace(mine, marks=marks, refused=older).write(layout)


def _pull_pictures(
    place: Place, layout: Layout, aside: Path, report: SyncReport, progress: Progress | None
) -> set[str]:
    """Fetch pictures that are not here; returns those that are not there."""
    extra: set[str] = set()
    known = 0

    def missing() -> Iterator[str]:
        nonlocal known
        mine = {path.name for path in layout.pictures.glob("*") if path.is_dir()}
        for folder in sorted(mine | (there := place.folders("pictures"))):
            keys = place.keys(f"pictures/{folder}") if folder in there else set()
            listed = set(filter(_PICTURE.fullmatch, (f"{folder}/{key}" for key in keys)))
            paths = layout.pictures.joinpath(folder).glob("*/*")
            here = {str(path.relative_to(layout.pictures)) for path in paths}
            extra.update(here - listed)
            known += len(here & listed)
            yield from sorted(listed - here)

    def fetch(file: str) -> int | str:
        half, target = aside / Path(file).name, layout.picture(file)
        if not place.fetch(f"pictures/{file}", half, MAX_PICTURE_BYTES):
            return "it is gone there, or larger than a picture"
        try:
            data = half.read_bytes()
            if picture_id_of(data) != target.stem:
                return "it is damaged there"
            target.parent.mkdir(parents=True, exist_ok=True)
            half.replace(target)
            return len(data)
        finally:
            half.unlink(missing_ok=True)

    folders: set[Path] = set()
    for done, (file, outcome) in enumerate(at_once(fetch, missing(), AHEAD, THREADS), 1):
        if isinstance(outcome, str):
            report.fail(file, outcome)
        else:
            report.pictures += 1
            report.bytes_count += outcome
            folders.add(layout.picture(file).parent)
        if progress:
            progress(done + known, 0)
    for folder in {*folders, *(one.parent for one in folders)}:
        fsync_directory(folder)
    if folders:
        fsync_directory(layout.pictures)
    return extra


def _pull_table(
    place: Place, layout: Layout, aside: Path, name: str, state: TableState, report: SyncReport
) -> None:
    """Files of a table into place: data, then the log in order, then the record."""
    table, files = layout.table(name), state.files
    commits.prepare(table)
    last = commits.read_checksums(table)
    known = last.files if last else {}
    new = sorted(
        file for file, one in files.items() if known.get(file) != one or not (table / file).exists()
    )
    (aside / LOG).mkdir(parents=True)

    def fetch(file: str) -> int:
        key, half = f"tables/{name}/{file}", aside / file
        if not place.fetch(key, half):
            raise InputError(f"{place.url}/{key} is gone", "Push the catalog again.")
        if digest_file(half) != files[file]:
            raise InputError(f"{place.url}/{key} is damaged", "Remove it, and push again.")
        return half.stat().st_size

    for _, size in at_once(fetch, new, AHEAD, THREADS):
        report.files, report.bytes_count = report.files + 1, report.bytes_count + size
    (table / LOG).mkdir(exist_ok=True)
    logged = [file for file in new if file.startswith(LOG)]
    for file in sorted(set(new) - set(logged)):
        (aside / file).replace(table / file)
    fsync_directory(table)
    for file in sorted(logged, key=lambda file: (commits.log_number(file), file)):
        (aside / file).replace(table / file)
    fsync_directory(table / LOG)
    replace_file(table / CHECKSUMS, state.data)
    commits.repair(table)


def _drop_pictures(layout: Layout, extra: set[str]) -> int:
    """Remove pictures that are not there any more and that no row names; returns how many."""
    if not extra:
        return 0
    named = set(Catalog(layout).read("pictures", ["file"])["file"].to_pylist())
    gone = list(filter(_PICTURE.fullmatch, extra - named))
    for file in gone:
        layout.picture(file).unlink(missing_ok=True)
    return len(gone)
