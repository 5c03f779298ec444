"""Routes about what the index holds: titles, authors, colours, and what there is to filter by."""

from __future__ import annotations

import asyncio
import difflib
import json
import sqlite3
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from fastapi import APIRouter, Query

from search.engine import QueryOptions
from search.filters import Filters, folded
from search.output.data import hits
from search.web.dependencies import ServiceDependency
from search.web.engine_pool import OpenEngine
from search.web.errors import not_found
from search.web.image_pool import PICTURE_ID
from search.web.models import (
    AuthorList,
    AuthorPage,
    Colors,
    Facets,
    TitleList,
    TitlePage,
    errors,
)

router = APIRouter(prefix="/v1", tags=["catalog"])
PAGE = 48
MAX_PICTURES = 240
NEIGHBOURS = 8
PALETTE_PICTURES = 200
CENTROID_PICTURES = 400
"""A title's or author's centroid is of so many pictures, spread evenly over all."""
MAX_PICTURES_PER_YEAR = 200
MIN_YEARS = 3
PICTURES_OF_TITLE = (
    "select p.row_id, p.year, p.picture_id, p.kind, p.episode_no, p.width_px, p.height_px"
    " from pictures p join titles t using (title_no) where t.title_id = ?"
    " order by p.kind, p.episode_no, p.year, p.picture_id"
)
PICTURES_OF_AUTHOR = (
    "select p.row_id, coalesce(p.year, t.year), p.picture_id, t.title_id, t.name"
    " from pictures p join titles t using (title_no) join names n using (title_no)"
    " where n.kind = 'author' and n.name = ? order by p.picture_id"
)
Offset = Annotated[int, Query(ge=0, le=10_000_000)]
Text = Annotated[str, Query(max_length=200)]
Row = tuple[Any, ...]


@router.get("/titles", response_model=TitleList, responses=errors())
async def titles(
    service: ServiceDependency, q: Text = "", genre: Text = "", offset: Offset = 0
) -> dict[str, Any]:
    """Titles by name, a page at a time, each with one picture."""
    async with service.engines.lease() as opened:

        def work() -> dict[str, Any]:
            found = [entry.key for entry in search_names(opened, "title", q)]
            meta = opened.engine.generation.meta
            if genre:
                rows = meta.execute(
                    "select title_id from titles join names n using (title_no)"
                    " where n.kind = 'genre' and n.name = ?",
                    (genre,),
                )
                of_genre = {row[0] for row in rows}
                found = [key for key in found if key in of_genre]
            return {"count": len(found), "titles": _cards(meta, found[offset : offset + PAGE])}

        return await service.engines.run(work)


@router.get("/authors", response_model=AuthorList, responses=errors())
async def authors(service: ServiceDependency, q: Text = "", offset: Offset = 0) -> dict[str, Any]:
    """Authors by name, a page at a time, each with one picture."""
    async with service.engines.lease() as opened:

        def work() -> dict[str, Any]:
            found = search_names(opened, "author", q)
            meta = opened.engine.generation.meta
            cards = [
                {
                    "author": entry.name,
                    "pictures_count": entry.pictures_count,
                    "picture_id": _picture_of_author(meta, entry.name),
                }
                for entry in found[offset : offset + PAGE]
            ]
            return {"count": len(found), "authors": cards}

        return await service.engines.run(work)


@router.get(
    "/titles/{title_id:path}",
    response_model=TitlePage,
    response_model_exclude_unset=True,
    responses=errors(404),
)
async def title(title_id: str, service: ServiceDependency, offset: Offset = 0) -> dict[str, Any]:
    """A title: its pictures, what is drawn alike, how its style moved."""
    async with service.engines.lease() as opened:

        def work() -> dict[str, Any]:
            meta = opened.engine.generation.meta
            cards = _cards(meta, [title_id])
            if not cards:
                raise not_found("the index holds no such title")
            rows = meta.execute(PICTURES_OF_TITLE, (title_id,)).fetchall()
            page = {**cards[0], "pictures": _pictures(rows[offset : offset + MAX_PICTURES])}
            if offset == 0:
                options = QueryOptions(k=NEIGHBOURS, filters=Filters(exclude_titles=(title_id,)))
                page["similar"] = _similar_titles(opened, rows, options)
                page["drift"] = drift(opened, [row[:3] for row in rows])
                page["palette"] = service.colors.of_all([r[2] for r in rows[:PALETTE_PICTURES]])
            return page

        return await service.engines.run(work)


@router.get("/authors/{name:path}", response_model=AuthorPage, responses=errors(404))
async def author(name: str, service: ServiceDependency) -> dict[str, Any]:
    """An author: titles, who draws alike, how the style moved."""
    async with service.engines.lease() as opened:

        def work() -> dict[str, Any]:
            meta = opened.engine.generation.meta
            rows = meta.execute(PICTURES_OF_AUTHOR, (name,)).fetchall()
            if not rows:
                raise not_found("the index holds no such author")
            own = sorted({(row[4] or row[3], row[3]) for row in rows})
            options = QueryOptions(k=6 * NEIGHBOURS, filters=Filters(exclude_authors=(name,)))
            return {
                "author": name,
                "pictures_count": len(rows),
                "titles_count": len(own),
                "titles": _cards(meta, [title_id for _, title_id in own[:MAX_PICTURES]]),
                "similar": _distinct_authors(_similar_titles(opened, rows, options)),
                "drift": drift(opened, [row[:3] for row in rows]),
                "palette": service.colors.of_all([row[2] for row in rows[:PALETTE_PICTURES]]),
            }

        return await service.engines.run(work)


@router.get("/facets", response_model=Facets, responses=errors())
async def facets(service: ServiceDependency) -> dict[str, Any]:
    """What the index can be filtered by, with the number of pictures of each."""
    async with service.engines.lease() as opened:
        return await service.engines.run(lambda: opened.once("facets", _facets))


@router.get("/colors", response_model=Colors, responses=errors())
async def colors(
    service: ServiceDependency,
    picture: Annotated[list[Annotated[str, Query(max_length=64)]], Query(max_length=200)],
) -> dict[str, Any]:
    """The main colours of each of these pictures, where the catalog has them."""
    known = [one for one in picture if PICTURE_ID.fullmatch(one)]
    return {"colors": await asyncio.to_thread(service.colors.of_pictures, known)}


def _facets(opened: OpenEngine) -> dict[str, Any]:
    generation = opened.engine.generation
    genres = generation.meta.execute(
        "select n.name, count(*) from names n join pictures p using (title_no)"
        " where n.kind = 'genre' group by n.name order by 2 desc, 1 limit 200"
    )
    platforms = generation.meta.execute(
        "select t.platform, count(*) from titles t join pictures p using (title_no)"
        " where t.platform is not null group by 1 order by 2 desc, 1 limit 50"
    )
    first, last = generation.meta.execute(
        "select min(coalesce(p.year, t.year)), max(coalesce(p.year, t.year))"
        " from pictures p join titles t using (title_no)"
    ).fetchone()
    return {
        "genres": [{"name": name, "pictures_count": count} for name, count in genres],
        "platforms": [{"name": name, "pictures_count": count} for name, count in platforms],
        "years": {"first": first, "last": last},
        "pictures_count": generation.pictures_count,
        "titles_count": generation.titles_count,
        "authors_count": generation.authors_count,
        "generation": generation.id,
    }


def _cards(meta: sqlite3.Connection, title_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Titles as they are listed, in the order of their ids."""
    cursor = meta.execute(
        "select t.title_id, t.name, t.authors, t.genres, t.year, t.url, t.platform,"
        " (select count(*) from pictures p where p.title_no = t.title_no),"
        " (select p.picture_id from pictures p where p.title_no = t.title_no"
        "  order by p.kind = 'cover' desc, p.picture_id limit 1)"
        " from json_each(?) j join titles t on t.title_id = j.value order by j.key",
        (json.dumps(title_ids),),
    )
    return [
        {
            "title_id": row[0],
            "title": row[1] or row[0],
            "authors": json.loads(row[2]),
            "genres": json.loads(row[3]),
            "year": row[4],
            "url": row[5],
            "platform": row[6],
            "pictures_count": row[7],
            "picture_id": row[8],
        }
        for row in cursor
    ]


def _picture_of_author(meta: sqlite3.Connection, author: str) -> str | None:
    row = meta.execute(
        "select p.picture_id from names n join pictures p using (title_no)"
        " where n.kind = 'author' and n.name = ? limit 1",
        (author,),
    ).fetchone()
    return None if row is None else str(row[0])


def _pictures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    keys = ("year", "picture_id", "kind", "episode_no", "width_px", "height_px")
    return [dict(zip(keys, row[1:], strict=True)) for row in rows]


def _similar_titles(
    opened: OpenEngine, rows: Sequence[Row], options: QueryOptions
) -> list[dict[str, Any]]:
    """Titles drawn like the mean of these pictures."""
    ids = np.asarray([row[0] for row in rows], np.int64)
    spread = ids[np.linspace(0, len(ids) - 1, min(len(ids), CENTROID_PICTURES)).astype(int)]
    answer = opened.engine.answer(opened.centroid(spread), options)
    return hits(answer, "title", None)


def _distinct_authors(titles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each main author once, with the title that came nearest."""
    found: dict[str, dict[str, Any]] = {}
    for one in titles:
        if one["authors"]:
            found.setdefault(one["authors"][0], {**one, "author": one["authors"][0]})
    return list(found.values())[:NEIGHBOURS]


def drift(opened: OpenEngine, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """How a style moved: each year's mean picture against the first year's, oldest first;
    nothing when there are too few years.

    `rows` are (row id, year, picture id). A year is shown by the picture nearest to its mean.
    """
    years: dict[int, list[tuple[int, str]]] = {}
    for row_id, year, picture_id in rows:
        if year is not None and len(years.setdefault(year, [])) < MAX_PICTURES_PER_YEAR:
            years[year].append((row_id, picture_id))
    if len(years) < MIN_YEARS:
        return []
    calibration, generation = opened.engine.calibration, opened.engine.generation
    found: list[dict[str, Any]] = []
    first: np.ndarray | None = None
    for year in sorted(years):
        vectors = generation.vectors([row for row, _ in years[year]])  # (N, D)
        mean = vectors.mean(axis=0)
        mean /= max(float(np.linalg.norm(mean)), 1e-6)
        first = mean if first is None else first
        similarity = float(first @ mean)
        typical = int(np.argmax(vectors @ mean))
        found.append(
            {
                "year": year,
                "pictures_count": len(vectors),
                "similarity": round(similarity, 4),
                "percentile": round(float(calibration.percentile(np.asarray(similarity))), 3),
                "picture_id": years[year][typical][1],
            }
        )
    return found


# --- Names are found as people type them: any part, any case, no accents.


class Entry(NamedTuple):
    """The name of a title (`key` is its id) or of an author (`key` is the name itself)."""

    key: str
    name: str
    folded: str
    pictures_count: int


def search_names(opened: OpenEngine, kind: str, text: str) -> list[Entry]:
    """Names that hold every word of a text, best first; everything when it is empty.

    When nothing holds them, the names that are spelt most alike.
    """
    entries = opened.once("names", _names)[kind]
    wanted = folded(text)
    if not wanted:
        return entries
    words = wanted.split()
    found = [e for e in entries if all(w in e.folded or w == e.key.lower() for w in words)]
    if not found:
        names = {e.folded: e for e in reversed(entries)}
        near = difflib.get_close_matches(wanted, names, n=5, cutoff=0.6)
        return [names[name] for name in near]
    return sorted(found, key=lambda entry: _rank(entry, wanted))


def _rank(entry: Entry, wanted: str) -> tuple[int, int, str]:
    name = entry.folded
    if name == wanted:
        place = 0
    elif name.startswith(wanted):
        place = 1
    elif f" {wanted}" in name:
        place = 2
    else:
        place = 3
    return place, -entry.pictures_count, name


def _names(opened: OpenEngine) -> dict[str, list[Entry]]:
    """All names of a generation, in the order of their folded form."""
    meta = opened.engine.generation.meta
    rows = {
        "title": meta.execute(
            "select t.title_id, coalesce(nullif(t.name, ''), t.title_id), count(*)"
            " from titles t join pictures p using (title_no) group by t.title_no"
        ),
        "author": meta.execute(
            "select n.name, n.name, count(*) from names n join pictures p using (title_no)"
            " where n.kind = 'author' group by n.name"
        ),
    }
    return {
        kind: sorted(
            (Entry(key, name, folded(name), count) for key, name, count in found),
            key=lambda entry: (entry.folded, entry.key),
        )
        for kind, found in rows.items()
    }
