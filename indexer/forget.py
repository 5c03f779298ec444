"""Forgetting: out of the answers, out of every file, and blocked for good.

In this order, so that a second run can end what a killed one began: the block list (nothing comes
back from here on), visitors' rows, the tables' rows with their data files and logs, a new
generation of what is left, and then the stored pictures and older generations. A generation that
a reader still holds cannot be published any more, and is removed by the next clean-up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexer.vector_index.generations import (
    Generation,
    current_generation_id,
    generation_ids,
    publish,
    remove_generations,
    unpublish,
)
from schemas.blocklist import BlockList
from schemas.errors import NoIndexError, NothingToIndex, UsageError
from schemas.settings import Settings
from schemas.storage.catalog import Catalog, maintain
from schemas.storage.fsio import fsync_directory, storage_errors
from schemas.storage.layout import Layout
from schemas.storage.tables import TABLES

ForgetVisitors = Callable[[Path, Sequence[str]], int]
"""Removes visitors' rows about these pictures and titles from a file; returns how many."""


Wanted = Mapping[str, Sequence[str]]
"""Whom and what to forget: names by "author", ids by "title" and "picture"."""


@dataclass
class ForgetReport:
    """What goes: titles as (id, name, authors), and the ids of pictures.

    `visitors` counts rows of visitors, `pending` says that a generation is still being read and
    is removed later, `generation_id` is the published one afterwards.
    """

    titles: list[tuple[str, str, str]] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    generations: list[str] = field(default_factory=list)
    visitors: int = 0
    generation_id: str | None = None
    pending: bool = False


def find(layout: Layout, wanted: Wanted) -> ForgetReport:
    """What a forgetting would take away, from the catalog and from the published index.

    Errors:  UsageError when nothing is given; InputError when a table cannot be read
    """
    if not any(wanted.values()):
        raise UsageError("say whom or what to forget", "Give --author, --title or --picture.")
    if any(not value.strip() for values in wanted.values() for value in values):
        raise UsageError("an empty name would forget nothing")
    return _matching(layout, _blocking(BlockList(), _shown_by_panels(layout, wanted)))


def forget(
    layout: Layout, settings: Settings, wanted: Wanted, forget_visitors: ForgetVisitors
) -> ForgetReport:
    """Forget, and keep out what was forgotten. Needs the data root's lock.

    Works as well when nothing is found: later crawls and imports leave it out.

    Errors:  InputError, PartlyDoneError; run again, it goes on where it was
    """
    report = find(layout, wanted)
    blocked = _blocking(BlockList.read(layout), _shown_by_panels(layout, wanted))
    older = frozenset(generation_ids(layout)) if report.pictures or report.titles else frozenset()
    blocked = dataclasses.replace(blocked, refused=blocked.refused | older, pending=True)
    blocked.write(layout)
    report.generation_id = current_generation_id(layout)
    clean_up(layout, settings, forget_visitors, report)
    return report


def clean_up(
    layout: Layout,
    settings: Settings,
    forget_visitors: ForgetVisitors,
    report: ForgetReport | None = None,
) -> bool:
    """End what a forgetting began: everything on the block list is removed from tables, answers,
    pictures, logs and older generations. Does nothing when nothing is pending.

    Returns whether everything is gone. Errors:  as `forget`
    """
    blocked = BlockList.read(layout)
    if not blocked.pending:
        return True
    report = report or ForgetReport()
    found = _matching(layout, blocked)
    _remove_derived(layout)  # crawls' frontiers may name files that nothing else names
    named = [*found.pictures, *(title_id for title_id, _, _ in found.titles)]
    report.visitors = forget_visitors(layout.web, named)
    _delete_rows(layout, found, blocked)
    maintain(layout, keep_history=False)
    report.files = _unused_files(layout)
    current = current_generation_id(layout)
    if current in blocked.refused:
        report.generation_id = _without(layout, settings, current)
    with storage_errors(f"the pictures in {layout.pictures}"):
        for file in report.files:
            layout.picture(file).unlink(missing_ok=True)
        for folder in {layout.picture(file).parent for file in report.files}:
            with contextlib.suppress(FileNotFoundError):
                fsync_directory(folder)
    there = set(generation_ids(layout)) & blocked.refused
    report.generations = remove_generations(layout, there)
    left = there - set(report.generations)
    report.pending = bool(left)
    dataclasses.replace(blocked, refused=frozenset(left), pending=bool(left)).write(layout)
    return not left


def _blocking(blocked: BlockList, wanted: Wanted) -> BlockList:
    for kind, values in wanted.items():
        blocked = blocked.adding(kind, values)
    return blocked


def _matching(layout: Layout, blocked: BlockList) -> ForgetReport:
    """Titles and pictures that a block list names, wherever they are known."""
    from schemas.records import author_names

    catalog = Catalog(layout)
    report = ForgetReport()
    titles: dict[str, tuple[str, str, str]] = {}
    known: set[str] = set()
    for row in catalog.read("titles", ["title_id", "name", "authors"]).to_pylist():
        names = [author["name"] for author in row["authors"] or []]
        known.add(row["title_id"])
        if blocked.blocks_title(row["title_id"], names):
            by = ", ".join(author_names(row))
            titles[row["title_id"]] = (row["title_id"], row["name"] or "", by)
    pictures: set[str] = set()
    by_id = bool(blocked.marks["picture"]) or bool(blocked.marks["title"])
    for name in ("pictures", "panels"):
        rows = catalog.read(name, ["picture_id", "title_id"])
        for picture, title in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            if title in titles or (
                by_id and (blocked.blocks("picture", picture) or blocked.blocks("title", title))
            ):
                pictures.add(picture)
    if by_id:  # no panel shows a picture that was forgotten
        pictures |= _panels_of(catalog, {p for p in pictures if blocked.blocks("picture", p)})
    for title_id, name, authors, picture in _published(layout):
        is_new = title_id not in known and title_id not in titles  # of a run that was killed
        if is_new and blocked.blocks_title(title_id, authors.split("\n")):
            titles[title_id] = (title_id, name, authors.replace("\n", ", "))
        if title_id in titles or (by_id and blocked.blocks("picture", picture)):
            pictures.add(picture)
    report.titles = sorted(titles.values())
    report.pictures = sorted(pictures)
    return report


def _panels_of(catalog: Catalog, pictures: Collection[str]) -> set[str]:
    """Ids of the panels that show a part of one of these pictures."""
    if not pictures:
        return set()
    rows = catalog.read("panels", ["picture_id", "slices"]).to_pylist()
    return {
        row["picture_id"]
        for row in rows
        if any(part["picture_id"] in pictures for part in row["slices"])
    }


def _shown_by_panels(layout: Layout, wanted: Wanted) -> Wanted:
    """The same, where a panel stands for the pictures that it is part of: a panel has no file of
    its own, and its id changes with the cutter."""
    rows = Catalog(layout).read("panels", ["picture_id", "slices"]).to_pylist()
    parts = {row["picture_id"]: [part["picture_id"] for part in row["slices"]] for row in rows}
    ids = [part for one in wanted.get("picture", ()) for part in (one, *parts.get(one, ()))]
    return {**wanted, "picture": ids} if ids else wanted


def _published(layout: Layout) -> Iterable[tuple[str, str, str, str]]:
    """Title id, name, authors and picture id of every picture that answers."""
    with contextlib.suppress(NoIndexError), Generation.open(layout) as generation:
        yield from generation.meta.execute(
            "select t.title_id, coalesce(t.name, ''), coalesce("
            "(select group_concat(value, char(10)) from json_each(t.authors)), ''), p.picture_id"
            " from pictures p join titles t using (title_no)"
        )


def _delete_rows(layout: Layout, found: ForgetReport, blocked: BlockList) -> None:
    """Rows of forgotten titles in every table, and rows of pictures that no other title has."""
    catalog = Catalog(layout)
    titles = [title_id for title_id, _, _ in found.titles]
    pictures = [picture for picture in found.pictures if blocked.blocks("picture", picture)]
    catalog.delete("pictures", "picture_id", pictures)
    for name in _tables_with("title_id"):  # `titles` last: a killed run finds them again
        catalog.delete(name, "title_id", titles)
    left = set(catalog.read("pictures", ["picture_id"])["picture_id"].to_pylist())
    strips = catalog.read("strips", ["strip_id", "title_id", "parents"]).to_pylist()
    lost = {(s["strip_id"], s["title_id"]) for s in strips if not left.issuperset(s["parents"])}
    catalog.upsert("strips", [], gone=lost)  # what is left of their pictures is cut again
    panels = catalog.read("panels", ["picture_id", "title_id", "strip_id"]).to_pylist()
    there = {(s["strip_id"], s["title_id"]) for s in strips} - lost
    orphans = [p for p in panels if (p["strip_id"], p["title_id"]) not in there]
    catalog.upsert("panels", [], gone={(p["picture_id"], p["title_id"]) for p in orphans})
    left |= set(catalog.read("panels", ["picture_id"])["picture_id"].to_pylist())
    for name in _tables_with("picture_id"):
        known = set(catalog.read(name, ["picture_id"])["picture_id"].to_pylist())
        catalog.delete(name, "picture_id", known - left)


def _tables_with(column: str) -> list[str]:
    return [name for name in reversed(TABLES) if column in {c.name for c in TABLES[name].columns}]


def _unused_files(layout: Layout) -> list[str]:
    """Stored files that no row names: those of forgotten pictures, and of a killed run."""
    named = set(Catalog(layout).read("pictures", ["file"])["file"].to_pylist())
    stored = (str(path.relative_to(layout.pictures)) for path in layout.pictures.glob("*/*/*"))
    return sorted(file for file in stored if file not in named)


def _without(layout: Layout, settings: Settings, current: str | None) -> str | None:
    """Publish a generation of what is left, made with the network of the one in use."""
    from indexer.vector_index.build import build_generation

    with contextlib.suppress(NoIndexError), Generation.open(layout, current) as generation:
        shown = dataclasses.replace(settings.encoder, model=str(generation.model_dir))
        settings = dataclasses.replace(settings, encoder=shown)
        try:
            report = build_generation(layout, settings, force=True, accept=("all",))
        except NothingToIndex:
            unpublish(layout)
            return None
        assert report.generation_id is not None
        publish(layout, report.generation_id)
        return report.generation_id
    unpublish(layout)  # damaged: it answers nobody, and cannot be cleaned
    return None


def _remove_derived(layout: Layout) -> None:
    """What crawls still have to fetch and what was computed may name what was forgotten; both
    come again by themselves."""
    with storage_errors("what was computed"):
        for folder in (layout.root / "crawl", layout.cache):
            if folder.is_dir():
                shutil.rmtree(folder)
        fsync_directory(layout.root)
