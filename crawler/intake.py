"""Takes the files of one source into the catalog, and keeps account of every one.

An import is a *source* with a name. Every file of a source is exactly one row of
`pictures`, with its size and modification time, so that a second import reads only what is
new or changed and notices what is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from crawler.pictures import (
    CheckedPicture,
    check_and_store,
    read_capped,
    refused,
    stamp_of,
)
from schemas.catalog import Catalog, rows_of
from schemas.durable import storage_error
from schemas.errors import InputError
from schemas.layout import Layout
from schemas.pictures import PictureError, PictureLimits, Reason
from schemas.records import Picture, Title
from schemas.settings import Settings

COMMIT_ROWS = 2000
MAX_PROBLEMS = 20
VANISHED_RATIO = 0.5
"""When more than this share of a source's files is gone at once, it is more likely an
unmounted disk than a clean-up: nothing is removed without `prune`."""

Progress = Callable[[int, int], None]


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
    """What an import did. Counts: new, changed, unchanged, removed, and of the files read
    skipped and failed; `problems` are the first few of those, one line each."""

    source: str
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("new", "changed", "unchanged", "removed", "skipped", "failed", "titles"), 0
        )
    )
    problems: list[str] = field(default_factory=list)


def import_items(
    layout: Layout,
    settings: Settings,
    source: str,
    items: Iterable[Item],
    *,
    dry_run: bool = False,
    prune: bool = False,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Bring one source's files into the catalog.

    Titles are committed first, then pictures batch by batch (their files stored before
    their rows), and removals last; a killed import is finished by running it again.

    Errors:  InputError when nothing is found, when most of a known source has vanished
             (without `prune`), or when the disk refuses
    """
    listed = {item.source_path: item for item in items}
    report = ImportReport(source)
    if not listed:
        raise InputError(f"no picture was found in {source}", "Nothing was changed in the catalog.")
    catalog = Catalog(layout)
    ledger = _Ledger(catalog, source)
    gone = sorted(set(ledger.known) - set(listed))
    if len(gone) > max(10, VANISHED_RATIO * len(ledger.known)) and not prune:
        raise InputError(
            f"{len(gone)} of {len(ledger.known)} pictures of {source} are gone",
            "If that is right, run again with --prune; nothing was changed.",
        )
    report.counts["removed"] = len(gone)
    todo = _to_read(listed.values(), ledger, report, retry_failed)
    ledger.release([*gone, *(item.source_path for item, _ in todo)])
    titles = {item.title.title_id: item.title for item in listed.values()}
    changed_titles = _changed_titles(catalog, titles.values())
    report.counts["titles"] = len(changed_titles)
    if dry_run:
        return report
    started = datetime.now(UTC)
    try:
        catalog.upsert("titles", rows_of(changed_titles))
        done = 0
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="import") as pool:
            remaining = iter(todo)
            while batch := list(islice(remaining, COMMIT_ROWS)):
                rows = []
                checked = pool.map(lambda job: _check(layout, settings.decode.limits, job), batch)
                for (item, stamp), facts in zip(batch, checked, strict=True):
                    rows.append(ledger.row(item, stamp, facts))
                    report_problem(report, item, facts)
                    done += 1
                    if progress:
                        progress(done, len(todo))
                catalog.upsert("pictures", rows_of(rows))
                ledger.forget_old([item.source_path for item, _ in batch], started)
        ledger.forget_old(gone, started)
    except OSError as error:
        raise storage_error(error, f"the catalog in {layout.root}") from error
    return report


def report_problem(report: ImportReport, item: Item, facts: CheckedPicture) -> None:
    """Count a file that was not kept and remember the first few."""
    if facts.status == "stored":
        return
    report.counts[facts.status] += 1
    if facts.reason is not Reason.DUPLICATE and len(report.problems) < MAX_PROBLEMS:
        report.problems.append(f"{item.source_path}: {facts.detail or facts.reason}")


class _Known(NamedTuple):
    """What the catalog says of one file."""

    stamp: str
    title_id: str
    status: str
    reason: str | None


class _Ledger:
    """What the catalog knows of a source, and which keys other rows hold."""

    def __init__(self, catalog: Catalog, source: str) -> None:
        self.catalog, self.source = catalog, source
        columns = [
            "picture_id", "title_id", "source", "source_path", "source_stamp", "status", "reason",
        ]  # fmt: skip
        self.known: dict[str, _Known] = {}
        self.holder: dict[tuple[str, str], tuple[str, str]] = {}
        for picture, title, owner, path, stamp, status, reason in zip(
            *(column.to_pylist() for column in catalog.read("pictures", columns).columns),
            strict=True,
        ):
            self.holder[picture, title] = (owner, path)
            if owner == source:
                self.known[path] = _Known(stamp, title, status, reason)

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
            picture_id=facts.picture_id,
            title_id=title_id,
            kind=item.kind,
            source=self.source,
            source_path=item.source_path,
            source_stamp=stamp,
            status=facts.status,
            reason=None if facts.reason is None else str(facts.reason),
            file=facts.file,
            format=facts.format,
            width_px=facts.width_px,
            height_px=facts.height_px,
            bytes_count=facts.bytes_count,
            perceptual_hash=facts.perceptual_hash,
            year=item.year,
            published=item.published,
        )

    def forget_old(self, paths: list[str], before: datetime) -> None:
        """Delete rows of these files that were written before this run: the old contents
        of changed files, and files that are gone."""
        self.catalog.delete(
            "pictures",
            "source_path",
            [path for path in paths if path in self.known],
            also={"source": self.source},
            before=("fetched_at", before),
        )


def _to_read(
    items: Iterable[Item], ledger: _Ledger, report: ImportReport, retry_failed: bool
) -> list[tuple[Item, str]]:
    """Files that are new or changed, with their stamps; and copies, when what they are a
    copy of may be gone."""
    todo: list[tuple[Item, str]] = []
    copies: list[tuple[Item, str]] = []
    for item in items:
        try:
            stamp = stamp_of(item.path)
        except PictureError as error:
            stamp = str(error.reason)
        before = ledger.known.get(item.source_path)
        if before is None:
            report.counts["new"] += 1
        elif before[:2] != (stamp, item.title.title_id) or (
            retry_failed and before.status == "failed"
        ):
            report.counts["changed"] += 1
        else:
            report.counts["unchanged"] += 1
            if before.reason == Reason.DUPLICATE:
                copies.append((item, stamp))
            continue
        todo.append((item, stamp))
    moved = any(item.source_path in ledger.known for item, _ in todo) or report.counts["removed"]
    return todo + (copies if moved else [])


def _check(layout: Layout, limits: PictureLimits, job: tuple[Item, str]) -> CheckedPicture:
    item, _ = job
    mark = hashlib.sha256(item.source_path.encode()).hexdigest()
    try:
        stamp_of(item.path)
        data = read_capped(item.path, limits)
    except PictureError as error:
        return refused(f"missing-{mark}", error, None)
    return check_and_store(layout, limits, data)


def _changed_titles(catalog: Catalog, titles: Iterable[Title]) -> list[Title]:
    """Titles that are new or differ from their row, so that a repeat commits nothing."""
    stored = {row["title_id"]: row for row in catalog.read("titles").to_pylist()}

    def same(title: Title) -> bool:
        row = stored.get(title.title_id)
        return row is not None and all(
            row[name] == (list(value) if isinstance(value, tuple) else value)
            for name, value in asdict(title).items()
        )

    return sorted((t for t in titles if not same(t)), key=lambda t: t.title_id)
