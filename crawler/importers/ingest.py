"""Takes the files of one source into the catalog, and accounts for every one.

An import is a *source* with a name. Every file of a source is exactly one row of
`pictures`, with its size and modification time, so that a second import reads only what is
new or changed and notices what is gone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack

from crawler.images import (
    CheckedPicture,
    check_and_store,
    read_capped,
    refused,
    size_of,
    stamp_of,
)
from crawler.importers.walk import readable, unique_path
from schemas.blocklist import BlockList
from schemas.errors import InputError
from schemas.images import PictureError, PictureLimits, Reason, picture_id_of
from schemas.names import author_key
from schemas.progress import Progress
from schemas.records import Picture, Title
from schemas.settings import Settings
from schemas.storage.catalog import Catalog, rows_of
from schemas.storage.fsio import storage_error
from schemas.storage.layout import Layout

COMMIT_ROWS = 2000
MAX_PROBLEMS = 20
VANISHED_RATIO = 0.5
"""When more than this share of a source's files is gone at once, it is more likely an
unmounted disk than a clean-up: nothing is removed without `prune`."""


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


@dataclass
class ImportReport:
    """What an import did. `blocked` files were forgotten and leave no row; `left` were not read,
    because time was up; `problems` are the first few."""

    source: str
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("new", "changed", "unchanged", "removed", "skipped", "failed", "titles", "blocked"), 0
        )
    )
    problems: list[str] = field(default_factory=list)

    def count(self, item: Item, facts: CheckedPicture) -> None:
        """Take a file into account; the first few that were not stored are problems."""
        if facts.status == "stored":
            return
        self.counts[facts.status] += 1
        if facts.reason is not Reason.DUPLICATE and len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{item.source_path}: {facts.detail or facts.reason}")


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
    source: str,
    items: Iterable[Item],
    **options: Unpack[ImportOptions],
) -> ImportReport:
    """Bring one source's files into the catalog.

    Titles are committed first, then pictures batch by batch (their files stored before
    their rows; a changed file's old row goes in the same commit), and removals last; an
    import that was killed or ran out of time is finished by running it again.

    Errors:  InputError when nothing is found, when most of a known source has vanished
             (without `prune`), or when the disk refuses
    """
    progress, is_over = options.get("progress"), options.get("is_over", lambda: False)
    report = ImportReport(source)
    blocked = BlockList.read(layout)
    listed = {item.source_path: item for item in items}
    if not listed:
        raise InputError(f"no picture was found in {source}", "Nothing was changed in the catalog.")
    wanted = {
        path: item
        for path, item in listed.items()
        if not blocked.blocks_title(item.title.title_id, [a.name for a in item.title.authors])
    }
    report.counts["blocked"] = len(listed) - len(wanted)
    catalog = Catalog(layout)
    known_files = KnownFiles(catalog, source)
    gone = sorted(set(known_files.known) - set(wanted))
    if len(gone) > max(10, VANISHED_RATIO * len(known_files.known)) and not options.get("prune"):
        raise InputError(
            f"{len(gone)} of {len(known_files.known)} pictures of {source} are gone",
            "If that is right, run again with --prune; nothing was changed.",
        )
    report.counts["removed"] = len(gone)
    todo = _to_read(
        layout, wanted.values(), known_files, report, options.get("retry_failed", False)
    )
    known_files.release([*gone, *(item.source_path for item, _ in todo)])
    titles = {item.title.title_id: item.title for item in wanted.values()}
    changed_titles = _changed_titles(catalog, titles.values())
    report.counts["titles"] = len(changed_titles)
    if options.get("dry_run"):
        return report
    try:
        catalog.upsert("titles", rows_of(changed_titles))
        done = 0
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="import") as pool:
            remaining = iter(todo)
            while not is_over() and (batch := list(islice(remaining, COMMIT_ROWS))):
                rows = []
                checked = pool.map(
                    lambda job: _check(layout, settings.decode.limits, blocked, job), batch
                )
                for (item, stamp), facts in zip(batch, checked, strict=True):
                    done += 1
                    if facts is None:
                        report.counts["blocked"] += 1
                        continue
                    rows.append(known_files.row(item, stamp, facts))
                    report.count(item, facts)
                    if progress:
                        progress(done, len(todo))
                old = known_files.old_keys([item.source_path for item, _ in batch])
                catalog.upsert("pictures", rows_of(rows), gone=old)
        if done < len(todo):
            report.counts["left"] = len(todo) - done
            return report
        catalog.upsert("pictures", [], gone=known_files.old_keys(gone))
    except OSError as error:
        raise storage_error(error, f"the catalog in {layout.root}") from error
    return report


def _to_read(
    layout: Layout,
    items: Iterable[Item],
    known_files: KnownFiles,
    report: ImportReport,
    retry_failed: bool,
) -> list[tuple[Item, str]]:
    """Files that are new or changed, or whose stored file is missing, with their stamps; and
    copies, when what they are a copy of may be gone."""
    todo: list[tuple[Item, str]] = []
    copies: list[tuple[Item, str]] = []
    for item in items:
        try:
            stamp = stamp_of(item.path)
        except PictureError as error:
            stamp = str(error.reason)
        before = known_files.known.get(item.source_path)
        if before is None:
            report.counts["new"] += 1
        elif (
            (before.source_stamp, before.title_id) != (stamp, item.title.title_id)
            or before.reason == Reason.STORE
            or (retry_failed and before.status == "failed")
            or not before.is_stored(layout)
        ):
            report.counts["changed"] += 1
        else:
            report.counts["unchanged"] += 1
            if before.reason == Reason.DUPLICATE:
                copies.append((item, stamp))
            continue
        todo.append((item, stamp))
    moved = (
        any(item.source_path in known_files.known for item, _ in todo) or report.counts["removed"]
    )
    return todo + (copies if moved else [])


def _check(
    layout: Layout, limits: PictureLimits, blocked: BlockList, job: tuple[Item, str]
) -> CheckedPicture | None:
    """Check and store one file; None for a picture that was forgotten."""
    item, _ = job
    mark = hashlib.sha256(item.source_path.encode()).hexdigest()
    try:
        stamp_of(item.path)
        data = read_capped(item.path, limits)
    except PictureError as error:
        return refused(f"missing-{mark}", error, None)
    if blocked.blocks("picture", picture_id_of(data)):
        return None
    return check_and_store(layout, limits, data)


def _changed_titles(catalog: Catalog, titles: Iterable[Title]) -> list[Title]:
    """Titles that are new or differ from their row."""
    stored = {row["title_id"]: row for row in catalog.read("titles").to_pylist()}

    def same(title: Title) -> bool:
        row = stored.get(title.title_id)
        return row is not None and all(
            row[name] == (list(value) if isinstance(value, tuple) else value)
            for name, value in asdict(title).items()
        )

    return sorted((t for t in titles if not same(t)), key=lambda t: t.title_id)
