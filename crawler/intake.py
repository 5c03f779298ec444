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
from datetime import date
from itertools import islice
from pathlib import Path

from crawler.known import KnownFiles
from crawler.pictures import (
    CheckedPicture,
    check_and_store,
    read_capped,
    refused,
    stamp_of,
)
from schemas.blocklist import BlockList
from schemas.catalog import Catalog, rows_of
from schemas.durable import storage_error
from schemas.errors import InputError
from schemas.layout import Layout
from schemas.pictures import PictureError, PictureLimits, Reason, picture_id_of
from schemas.records import Title
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
    """What an import did. Counts: new, changed, unchanged, removed, of the files read skipped
    and failed, and blocked ones, which were forgotten and leave no row; `left` were not
    looked at, because time was up. `problems` are the first few, one line each."""

    source: str
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("new", "changed", "unchanged", "removed", "skipped", "failed", "titles", "blocked"), 0
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
    is_over: Callable[[], bool] = lambda: False,
) -> ImportReport:
    """Bring one source's files into the catalog.

    Titles are committed first, then pictures batch by batch (their files stored before
    their rows; a changed file's old row goes in the same commit), and removals last; an
    import that was killed, or that ended because `is_over` said so, is finished by running
    it again.

    Errors:  InputError when nothing is found, when most of a known source has vanished
             (without `prune`), or when the disk refuses
    """
    report = ImportReport(source)
    blocked = BlockList.read(layout)
    listed = {item.source_path: item for item in items}
    if not listed:
        raise InputError(f"no picture was found in {source}", "Nothing was changed in the catalog.")
    kept = {path: item for path, item in listed.items() if not _is_blocked(blocked, item)}
    report.counts["blocked"] = len(listed) - len(kept)
    catalog = Catalog(layout)
    known_files = KnownFiles(catalog, source)
    gone = sorted(set(known_files.known) - set(kept))
    if len(gone) > max(10, VANISHED_RATIO * len(known_files.known)) and not prune:
        raise InputError(
            f"{len(gone)} of {len(known_files.known)} pictures of {source} are gone",
            "If that is right, run again with --prune; nothing was changed.",
        )
    report.counts["removed"] = len(gone)
    todo = _to_read(layout, kept.values(), known_files, report, retry_failed)
    known_files.release([*gone, *(item.source_path for item, _ in todo)])
    titles = {item.title.title_id: item.title for item in kept.values()}
    changed_titles = _changed_titles(catalog, titles.values())
    report.counts["titles"] = len(changed_titles)
    if dry_run:
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
                    report_problem(report, item, facts)
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


def _is_blocked(blocked: BlockList, item: Item) -> bool:
    title = item.title
    return bool(blocked) and blocked.blocks_title(title.title_id, [a.name for a in title.authors])


def report_problem(report: ImportReport, item: Item, facts: CheckedPicture) -> None:
    """Count a file that was not kept and remember the first few."""
    if facts.status == "stored":
        return
    report.counts[facts.status] += 1
    if facts.reason is not Reason.DUPLICATE and len(report.problems) < MAX_PROBLEMS:
        report.problems.append(f"{item.source_path}: {facts.detail or facts.reason}")


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
            before[:2] != (stamp, item.title.title_id)
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
    """Titles that are new or differ from their row, so that a repeat commits nothing."""
    stored = {row["title_id"]: row for row in catalog.read("titles").to_pylist()}

    def same(title: Title) -> bool:
        row = stored.get(title.title_id)
        return row is not None and all(
            row[name] == (list(value) if isinstance(value, tuple) else value)
            for name, value in asdict(title).items()
        )

    return sorted((t for t in titles if not same(t)), key=lambda t: t.title_id)
