"""Takes the files of one source into the catalog, and accounts for every one.

An import is a *source* with a name. Every file of a source is exactly one row of
`pictures`, with its size and modification time, so that a second import reads only what is
new or changed and notices what is gone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypedDict, Unpack

from crawler.images import (
    CheckedPicture,
    check_and_store,
    refused,
    size_of,
    stamp_of,
)
from crawler.importers.history import ImportRun, last_import, recorded
from crawler.importers.walk import readable, unique_path
from schemas.attempt import attempt
from schemas.blocklist import BlockList
from schemas.errors import InputError
from schemas.images import PictureError, PictureLimits, Reason, picture_id_of, read_capped
from schemas.names import author_key
from schemas.progress import Progress
from schemas.records import Picture, Title
from schemas.settings import Settings
from schemas.storage.catalog import Catalog, rows_of
from schemas.storage.fsio import storage_error
from schemas.storage.layout import Layout

COMMIT_ROWS = 2000
MAX_PROBLEMS = 20
MANY_GONE = 10
VANISHED_RATIO = 0.5
"""When more than this share of a source's files is gone at once, it is more likely an
unmounted disk than a clean-up: nothing is removed without `prune`. A few are always removed."""
UNSEEN = frozenset({Reason.MISSING, Reason.UNREADABLE})
"""Reasons that say nothing of the picture itself."""
AGAIN = frozenset({Reason.STORE, Reason.UNREADABLE})
"""Reasons that may be over while a file looks as before."""
EMPTY = "is empty now"


class ImportOptions(TypedDict, total=False):
    """What all imports have in common.

    prune         remove pictures that are gone, however many
    retry_failed  read files once more that failed before
    is_over       says that time is up; the rest is left for the next import
    """

    dry_run: bool
    prune: bool
    retry_failed: bool
    progress: Progress | None
    is_over: Callable[[], bool]


def slug(text: str) -> str:
    """A readable part of an id; a short digest keeps names apart that differ in punctuation.
    What `author_key` calls one name has one slug.

    >>> slug("Tower of God"), slug("신의 탑")
    ('tower-of-god', '신의-탑')
    """
    key = author_key(text)
    short = re.sub(r"[^\w]+", "-", key, flags=re.UNICODE).strip("-_")
    if short and short == key.replace(" ", "-") and "-" not in key:
        return short
    return f"{short[:60]}~{_digest(key.encode())}".lstrip("-")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:6]


@dataclass(frozen=True)
class Source:
    """What an import brings pictures from: a place on this machine, or a name that was given.

    key     as in the column `source`, such as `folder:/home/me/drawings` or `folder:mine`
    prefix  what the ids of its titles begin with, such as `drawings~1f2e3d` or `mine`
    name    what people call it
    place   its real path, as text
    """

    key: str
    prefix: str
    name: str
    place: str

    @classmethod
    def of(cls, kind: str, place: Path, name: str | None = None) -> Source:
        """The source at a path. Without a name of its own its path is its identity, so that two
        folders or lists of one name are two sources; with one, wherever it lies."""
        real = place.resolve()
        text = unique_path(real)
        if name is not None:
            return cls(f"{kind}:{name}", slug(name), name, text)
        shown = readable(real.name if real.is_dir() else real.stem) or kind
        prefix = f"{slug(shown)}~{_digest(os.fsencode(real))}"
        return cls(f"{kind}:{text}", prefix, shown, text)

    def title_id(self, *names: str) -> str:
        """The id of a title by the names that tell it from others, its author's first; an empty
        one says that it is not known.

        >>> Source("folder:mine", "mine", "mine", "").title_id("Kim", "Tower of God")
        'mine:kim/tower-of-god'
        """
        return f"{self.prefix}:{'/'.join(slug(name) if name.strip() else '-' for name in names) or '-'}"


@dataclass(frozen=True)
class Item:
    """One picture file of a source, as the folder or the manifest describes it."""

    path: Path
    source_path: str
    title: Title
    kind: str = "picture"
    year: int | None = None
    published: date | None = None
    episode_no: int | None = None


class Unseen(NamedTuple):
    """Folders of a source whose pictures cannot be seen now, by their paths, with why.

    closed    could not be listed: what is known below stays
    doubtful  links and empty folders: what is known below stays as well, but for `prune`
    """

    closed: Mapping[str, str] = {}
    doubtful: Mapping[str, str] = {}


ALL_SEEN = Unseen()
FILE_COUNTS = ("new", "changed", "unchanged", "kept", "skipped", "failed", "blocked", "left")
"""Every file is in one of these: stored for the first time or again; not read, as before; stored
before and not to be seen now; not wanted; not usable; forgotten; not read, as time was up.
In a dry run, new and changed files are those that would be read."""


@dataclass
class ImportReport:
    """What an import did, or would do.

    counts    files by FILE_COUNTS; then rows that went, titles that are new or changed, and
              folders that could not be listed
    problems  the first few that did not go well; `more_problems` are not told
    notes     what is worth knowing, though nothing went wrong
    titles    every title of the source with how many files it has
    """

    source: str
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            (*FILE_COUNTS[:-1], "removed", "titles", "unread_folders"), 0
        )
    )
    problems: list[str] = field(default_factory=list)
    more_problems: int = 0
    notes: list[str] = field(default_factory=list)
    titles: list[tuple[Title, int]] = field(default_factory=list)

    @property
    def files(self) -> int:
        """All files of the source: those that it lists, and known ones where it cannot be seen."""
        return sum(self.counts.get(name, 0) for name in FILE_COUNTS)

    @property
    def is_partial(self) -> bool:
        """Whether something could not be read or seen."""
        return any(self.counts.get(name) for name in ("failed", "kept", "unread_folders"))

    @property
    def unseen(self) -> str:
        """What could not be seen, in words; empty when all could."""
        kept, folders = self.counts["kept"], self.counts["unread_folders"]
        parts = [f"{folders:,} folders could not be listed"] if folders else []
        if kept:
            parts.append(f"{kept:,} pictures could not be seen and stay as they were")
        return ", ".join(parts)

    def problem(self, path: str, why: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{path}: {why}")
        else:
            self.more_problems += 1

    def count(self, job: Job, row: Picture | CheckedPicture, detail: str) -> None:
        """Take a file into account that was read, by its row."""
        is_copy = row.reason == Reason.DUPLICATE
        if row.status == "stored":
            self.counts["new" if job.before is None else "changed"] += 1
        elif is_copy and job.is_unchanged:
            self.counts["unchanged"] += 1
        else:
            self.counts[row.status] += 1
            if not is_copy:
                self.problem(job.item.source_path, detail or str(row.reason))

    def keep(self, path: str, why: str) -> None:
        self.counts["kept"] += 1
        self.problem(path, f"{why}; it stays as it was")


class KnownFile(NamedTuple):
    """What the catalog says of one file, by its columns' names."""

    picture_id: str
    title_id: str
    source_stamp: str
    status: str
    reason: str | None
    file: str | None
    bytes_count: int | None

    @property
    def key(self) -> tuple[str, str]:
        """The key of its row."""
        return self.picture_id, self.title_id

    def is_stored(self, layout: Layout) -> bool:
        """Whether the stored file, where there should be one, is there in its length."""
        return self.file is None or size_of(layout.picture(self.file)) == self.bytes_count


class Job(NamedTuple):
    """A file that is to be read; `is_unchanged` for a copy, which may have to take over."""

    item: Item
    stamp: str
    before: KnownFile | None
    is_unchanged: bool = False


class KnownFiles:
    """What the catalog knows of a source, and which keys other rows hold."""

    def __init__(self, catalog: Catalog, source: str) -> None:
        self.catalog, self.source = catalog, source
        columns = ["source", "source_path", *KnownFile._fields]
        self.known: dict[str, KnownFile] = {}
        self.holder: dict[tuple[str, str], tuple[str, str]] = {}
        table = catalog.read("pictures", columns)
        for owner, path, *facts in zip(*(table[name].to_pylist() for name in columns), strict=True):
            file = KnownFile(*facts)
            self.holder[file.key] = (owner, path)
            if owner == source:
                self.known[path] = file

    def release(self, paths: Iterable[str]) -> None:
        """Give up the keys that these files hold, for copies of them to take over."""
        mine = {(self.source, path) for path in paths}
        self.holder = {key: owner for key, owner in self.holder.items() if owner not in mine}

    def keep(self, path: str) -> bool:
        """Take the keys of a file back, for its row to stay; False when another has them."""
        me = (self.source, path)
        return self.holder.setdefault(self.known[path].key, me) == me

    def row(self, item: Item, stamp: str, facts: CheckedPicture) -> Picture:
        """The file's row. A second file with the same bytes in the same title becomes a
        row of its own, skipped as a duplicate, so that every file stays accounted for."""
        title_id = item.title.title_id
        me = (self.source, item.source_path)
        if self.holder.get((facts.picture_id, title_id), me) != me:
            mark = hashlib.sha256("\n".join(me).encode()).hexdigest()
            facts = CheckedPicture(
                f"copy-{mark}", "skipped", Reason.DUPLICATE, bytes_count=facts.bytes_count
            )
        self.holder[facts.picture_id, title_id] = me
        return Picture(
            title_id=title_id,
            kind=item.kind,
            source=self.source,
            source_path=item.source_path,
            source_stamp=stamp,
            year=item.year,
            published=item.published,
            episode_no=item.episode_no,
            **facts.columns(),
        )

    def old_keys(self, paths: Iterable[str]) -> list[tuple[str, str]]:
        """Keys of the rows that these files had before, unless another file took one over."""
        return [
            file.key
            for path in paths
            if (file := self.known.get(path)) is not None
            and self.holder.get(file.key, (self.source, path)) == (self.source, path)
        ]


def import_items(
    layout: Layout,
    settings: Settings,
    source: Source,
    items: Iterable[Item],
    unseen: Unseen = ALL_SEEN,
    **options: Unpack[ImportOptions],
) -> ImportReport:
    """Bring one source's files into the catalog.

    Titles are committed first, then pictures batch by batch (their files stored before
    their rows; a changed file's old row goes in the same commit), and removals last; an
    import that was killed or ran out of time is finished by running it again. What cannot be
    seen now keeps the row that it has.

    Errors:  InputError when nothing is found, when most of a known source has vanished
             (without `prune`), or when the disk refuses
    """
    progress, is_over = options.get("progress"), options.get("is_over", lambda: False)
    prune = options.get("prune", False)
    report = ImportReport(source.key)
    blocked = BlockList.read(layout)
    listed = {item.source_path: item for item in items}
    if not listed:
        closed = "".join(f"; {path} cannot be listed" for path in list(unseen.closed)[:1])
        raise InputError(
            f"no picture was found in {source.key}{closed}", "Nothing was changed in the catalog."
        )
    wanted = {
        path: item
        for path, item in listed.items()
        if not blocked.blocks_title(item.title.title_id, [a.name for a in item.title.authors])
    }
    report.counts["blocked"] = len(listed) - len(wanted)
    catalog = Catalog(layout)
    known_files = KnownFiles(catalog, source.key)
    gone, doubtful = _gone(known_files, wanted, unseen, report, prune)
    todo, missing = _to_read(layout, wanted.values(), known_files, report, bool(gone), options)
    before = last_import(catalog, source.key)
    vanished = len(gone) + doubtful + missing
    _check_vanished(source, before, vanished, len(known_files.known), report, prune)
    known_files.release([*gone, *(job.item.source_path for job in todo)])
    titles, changed_titles = _titles(catalog, wanted.values())
    numbers = Counter(item.title.title_id for item in wanted.values())
    report.titles = [(title, numbers[title.title_id]) for title in titles]
    report.counts["titles"] = len(changed_titles)
    if options.get("dry_run"):
        for job in todo:
            what = "new" if job.before is None else "changed"
            report.counts["unchanged" if job.is_unchanged else what] += 1
        report.counts["removed"] = len(gone)
        return report
    unfinished = before is not None and before.is_interrupted
    if not (todo or gone or changed_titles or unfinished):
        return report
    try:
        with recorded(catalog, source.key, source.place, report.counts, before):
            catalog.upsert("titles", rows_of(changed_titles))
            done = 0
            with ThreadPoolExecutor(max_workers=2, thread_name_prefix="import") as pool:
                remaining = iter(todo)
                while not is_over() and (batch := list(islice(remaining, COMMIT_ROWS))):
                    rows, read = [], []
                    checked = pool.map(
                        lambda job: _check(layout, settings.decode.limits, blocked, job), batch
                    )
                    for job, facts in zip(batch, checked, strict=True):
                        done += 1
                        if progress:
                            progress(done, len(todo))
                        path = job.item.source_path
                        if facts is None:
                            read.append(path)
                            report.counts["blocked"] += 1
                            continue
                        if _is_kept(job, facts, prune) and known_files.keep(path):
                            report.keep(path, facts.detail)
                            continue
                        if _is_as_before(job, facts) and known_files.keep(path):
                            report.count(job, facts, facts.detail)
                            continue
                        read.append(path)
                        rows.append(known_files.row(job.item, job.stamp, facts))
                        report.count(job, rows[-1], facts.detail)
                    catalog.upsert("pictures", rows_of(rows), gone=known_files.old_keys(read))
            if done < len(todo):
                report.counts["left"] = len(todo) - done
                return report
            catalog.upsert("pictures", [], gone=known_files.old_keys(gone))
            report.counts["removed"] = len(gone)
    except OSError as error:
        raise storage_error(error, f"the catalog in {layout.root}") from error
    return report


def _gone(
    known_files: KnownFiles,
    wanted: Mapping[str, Item],
    unseen: Unseen,
    report: ImportReport,
    prune: bool,
) -> tuple[list[str], int]:
    """Known files that the source does not hold any more. Those that only cannot be seen are
    accounted for; of them, how many are behind links or in empty folders."""
    reasons = {**({} if prune else unseen.doubtful), **unseen.closed}
    hidden: dict[str, list[str]] = {folder: [] for folder in reasons}
    gone: list[str] = []
    doubtful = 0
    for path in sorted(set(known_files.known) - set(wanted)):
        above = (str(folder) for folder in PurePosixPath(path).parents)
        folder = next((one for one in above if one in reasons), None)
        (gone if folder is None else hidden[folder]).append(path)
    for folder, paths in hidden.items():
        is_closed = folder in unseen.closed
        # Who clears a folder out leaves it empty; a disk that is gone takes folders with it.
        had_folders = any("/" in path[len(folder) + 1 :] for path in paths)
        is_cleared = reasons[folder] == EMPTY and not had_folders and len(paths) <= MANY_GONE
        if not is_closed and (is_cleared or not paths):
            gone += paths
            continue
        report.counts["unread_folders"] += is_closed
        report.counts["kept"] += len(paths)
        doubtful += 0 if is_closed else len(paths)
        stay = f"; what is known below it stays ({len(paths):,})" if paths else ""
        hint = "" if is_closed else " (--prune removes them)"
        report.problem(folder, f"{reasons[folder]}{stay}{hint}")
    return sorted(gone), doubtful


def _check_vanished(
    source: Source,
    before: ImportRun | None,
    vanished: int,
    known: int,
    report: ImportReport,
    prune: bool,
) -> None:
    """Refuse when most of a source is gone, or when a name stands for another place now.

    Errors:  InputError
    """
    few = MANY_GONE
    hint = "If that is right, run again with --prune; nothing was changed."
    if before is not None and before.place != source.place:
        report.notes.append(f"{source.key} was imported from {before.place} before")
        few, hint = 0, f"It was {before.place} before: choose another --name, or --prune it."
    if vanished > max(few, VANISHED_RATIO * known) and not prune:
        raise InputError(f"{vanished:,} of {known:,} pictures of {source.key} are gone", hint)


def _to_read(
    layout: Layout,
    items: Iterable[Item],
    known_files: KnownFiles,
    report: ImportReport,
    has_gone: bool,
    options: ImportOptions,
) -> tuple[list[Job], int]:
    """Files that are new or changed, or whose stored file is missing; and copies, when what they
    are a copy of may be gone. Also how many are missing that are stored."""
    todo: list[Job] = []
    copies: list[Job] = []
    missing, retry = 0, options.get("retry_failed", False)
    for item in items:
        before = known_files.known.get(item.source_path)
        found = attempt(stamp_of, item.path)
        error = found if isinstance(found, PictureError) else None
        stamp = str(found.reason) if isinstance(found, PictureError) else found
        job = Job(item, stamp, before)
        is_same = before is not None and (before.source_stamp, before.title_id) == (
            stamp,
            item.title.title_id,
        )
        if error is not None and _is_kept(job, error, options.get("prune", False)):
            report.keep(item.source_path, error.message)
            missing += error.reason is Reason.MISSING
        elif error is not None and error.reason in UNSEEN and is_same and not retry:
            report.counts["failed"] += 1
            report.problem(item.source_path, error.message)
        elif (
            before is None
            or not is_same
            or before.reason in AGAIN
            or (retry and before.status == "failed")
            or not before.is_stored(layout)
        ):
            todo.append(job)
        elif before.reason == Reason.DUPLICATE:
            copies.append(job._replace(is_unchanged=True))
        else:
            report.counts["unchanged"] += 1
    if has_gone or any(job.before is not None for job in todo):
        return todo + copies, missing
    report.counts["unchanged"] += len(copies)
    return todo, missing


def _is_kept(job: Job, found: PictureError | CheckedPicture, prune: bool) -> bool:
    """Whether a file was fine and only cannot be seen now."""
    if job.before is None or job.before.status == "failed" or found.reason not in UNSEEN:
        return False
    return found.reason is Reason.UNREADABLE or not prune


def _is_as_before(job: Job, facts: CheckedPicture) -> bool:
    """Whether a file that was read in vain has its row already."""
    before, row = job.before, (facts.picture_id, job.item.title.title_id, job.stamp, facts.status)
    return before is not None and (*before[:4], before.reason) == (*row, facts.reason)


def _check(
    layout: Layout, limits: PictureLimits, blocked: BlockList, job: Job
) -> CheckedPicture | None:
    """Check and store one file; None for a picture that was forgotten.

    Errors:  StorageError when the store cannot be written
    """
    mark = hashlib.sha256(job.item.source_path.encode()).hexdigest()
    data = attempt(read_capped, job.item.path, limits)
    if isinstance(data, PictureError):
        return refused(f"missing-{mark}", data, None)
    if blocked.blocks("picture", picture_id_of(data)):
        return None
    facts = attempt(_stored, layout, limits, data)
    if isinstance(facts, PictureError):
        return refused(picture_id_of(data), facts, len(data))
    return facts


def _stored(layout: Layout, limits: PictureLimits, data: bytes) -> CheckedPicture:
    try:
        return check_and_store(layout, limits, data)
    except OSError as error:
        if error.errno is None:  # of a decoder
            raise
        raise storage_error(error, f"the pictures in {layout.pictures}") from error


def _titles(catalog: Catalog, items: Iterable[Item]) -> tuple[list[Title], list[Title]]:
    """The titles of a source, and those of them that are new or differ from their row. Of a
    name's spellings the first counts, and before it the one that other titles have."""
    found: dict[str, Title] = {}
    for item in items:
        found.setdefault(item.title.title_id, item.title)
    stored = {row["title_id"]: row for row in catalog.read("titles").to_pylist()}
    spellings: dict[str, str] = {}
    for title_id in sorted(stored.keys() - found.keys()):
        for author in stored[title_id]["authors"] or ():
            spellings.setdefault(author_key(author["name"]), author["name"])
    for title_id, title in found.items():
        authors = tuple(
            replace(author, name=spellings.setdefault(author_key(author.name), author.name))
            for author in title.authors
        )
        found[title_id] = replace(title, authors=authors)

    def same(title: Title) -> bool:
        row = stored.get(title.title_id)
        return row is not None and all(
            row[name] == (list(value) if isinstance(value, tuple) else value)
            for name, value in asdict(title).items()
        )

    ordered = sorted(found.values(), key=lambda title: title.title_id)
    return ordered, [title for title in ordered if not same(title)]
