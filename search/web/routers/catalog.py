"""Routes about what the index holds: titles, authors, names, and what there is to filter by."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from search.engine import QueryOptions
from search.filters import Filters
from search.output.data import hits
from search.web.dependencies import TheService
from search.web.directory import Directory
from search.web.drift import drift
from search.web.engine_pool import OpenEngine
from search.web.errors import not_found
from search.web.image_pool import PICTURE_ID
from search.web.models import errors

router = APIRouter(prefix="/v1", tags=["works"])
PAGE = 48
MAX_PICTURES = 240
NEIGHBOURS = 8
PALETTE_PICTURES = 200
STYLE_PICTURES = 400
"""A title's or author's common style looks at so many pictures, spread evenly over all."""
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


@router.get("/titles", responses=errors())
async def titles(
    service: TheService, q: Text = "", genre: Text = "", offset: Offset = 0
) -> Response:
    """Titles by name, a page at a time, each with one picture."""
    async with service.engines.lease() as opened:

        def work() -> dict[str, Any]:
            found = [e.key for e in Directory.of(opened).search("title", q)]
            meta = opened.engine.generation.meta
            if genre:
                having = {row[0] for row in meta.execute(
                    "select title_id from titles join names n using (title_no)"
                    " where n.kind = 'genre' and n.name = ?", (genre,))}  # fmt: skip
                found = [key for key in found if key in having]
            return {"count": len(found), "titles": _cards(meta, found[offset : offset + PAGE])}

        return JSONResponse(await service.engines.run(work))


@router.get("/authors", responses=errors())
async def authors(service: TheService, q: Text = "", offset: Offset = 0) -> Response:
    """Authors by name, a page at a time, each with one picture."""
    async with service.engines.lease() as opened:

        def work() -> dict[str, Any]:
            found = Directory.of(opened).search("author", q)
            meta = opened.engine.generation.meta
            return {
                "count": len(found),
                "authors": [
                    {"author": e.name, "pictures_count": e.pictures_count,
                     "picture_id": _first_picture(meta, e.name)}
                    for e in found[offset : offset + PAGE]
                ],
            }  # fmt: skip

        return JSONResponse(await service.engines.run(work))


@router.get("/titles/{title_id:path}", responses=errors(404))
async def title(title_id: str, service: TheService, offset: Offset = 0) -> Response:
    """A title: its pictures, what is drawn alike, how its style moved."""
    async with service.engines.lease() as opened:

        def work() -> dict[str, Any]:
            meta = opened.engine.generation.meta
            facts = _cards(meta, [title_id])
            if not facts:
                raise not_found("the index holds no such title")
            rows = meta.execute(PICTURES_OF_TITLE, (title_id,)).fetchall()
            about: dict[str, Any] = {**facts[0], "pictures": _pictures(rows, offset)}
            if offset == 0:
                options = QueryOptions(k=NEIGHBOURS, filters=Filters(exclude_titles=(title_id,)))
                about["similar"] = _neighbours(opened, rows, options)
                about["drift"] = drift(opened, [row[:3] for row in rows])
                about["palette"] = service.swatches.of_all(
                    [row[2] for row in rows[:PALETTE_PICTURES]]
                )
            return about

        return JSONResponse(await service.engines.run(work))


@router.get("/authors/{name:path}", responses=errors(404))
async def author(name: str, service: TheService) -> Response:
    """An author: works, who draws alike, how the style moved."""
    async with service.engines.lease() as opened:

        def work() -> dict[str, Any]:
            meta = opened.engine.generation.meta
            rows = meta.execute(PICTURES_OF_AUTHOR, (name,)).fetchall()
            if not rows:
                raise not_found("the index holds no such author")
            works = sorted({(row[4] or row[3], row[3]) for row in rows})
            options = QueryOptions(k=6 * NEIGHBOURS, filters=Filters(exclude_authors=(name,)))
            return {
                "author": name,
                "pictures_count": len(rows),
                "titles_count": len(works),
                "titles": _cards(meta, [title_id for _, title_id in works[:MAX_PICTURES]]),
                "similar": _distinct_authors(_neighbours(opened, rows, options)),
                "drift": drift(opened, [row[:3] for row in rows]),
                "palette": service.swatches.of_all([row[2] for row in rows[:PALETTE_PICTURES]]),
            }

        return JSONResponse(await service.engines.run(work))


@router.get("/facets", responses=errors())
async def facets(service: TheService) -> Response:
    """What the index can be filtered by, with the number of pictures of each."""
    async with service.engines.lease() as opened:

        def work() -> dict[str, Any]:
            if "facets" not in opened.derived:
                opened.derived["facets"] = _facets(opened)
            found: dict[str, Any] = opened.derived["facets"]
            return found

        return JSONResponse(await service.engines.run(work))


def _facets(opened: OpenEngine) -> dict[str, Any]:
    meta = opened.engine.generation.meta
    genres = meta.execute(
        "select n.name, count(*) from names n join pictures p using (title_no)"
        " where n.kind = 'genre' group by n.name order by 2 desc, 1 limit 200"
    )
    platforms = meta.execute(
        "select t.platform, count(*) from titles t join pictures p using (title_no)"
        " where t.platform is not null group by 1 order by 2 desc, 1 limit 50"
    )
    first, last = meta.execute(
        "select min(coalesce(p.year, t.year)), max(coalesce(p.year, t.year))"
        " from pictures p join titles t using (title_no)"
    ).fetchone()
    generation = opened.engine.generation
    return {
        "genres": [{"name": name, "pictures_count": count} for name, count in genres],
        "platforms": [{"name": name, "pictures_count": count} for name, count in platforms],
        "years": {"first": first, "last": last},
        "pictures_count": generation.pictures_count,
        "titles_count": generation.titles_count,
        "authors_count": generation.authors_count,
        "generation": generation.id,
    }


def _cards(meta: sqlite3.Connection, title_ids: list[str]) -> list[dict[str, Any]]:
    """Titles as they are listed, in the order of their ids."""
    cursor = meta.execute(
        "select t.title_id, t.name, t.authors, t.genres, t.year, t.url, t.platform,"
        " (select count(*) from pictures p where p.title_no = t.title_no),"
        " (select p.picture_id from pictures p where p.title_no = t.title_no"
        "  order by p.kind = 'cover' desc, p.picture_id limit 1)"
        " from json_each(?) j join titles t on t.title_id = j.value",
        (json.dumps(title_ids),),
    )
    known = {
        row[0]: {
            "title_id": row[0], "title": row[1] or row[0], "authors": json.loads(row[2]),
            "genres": json.loads(row[3]), "year": row[4], "url": row[5], "platform": row[6],
            "pictures_count": row[7], "picture_id": row[8],
        }
        for row in cursor
    }  # fmt: skip
    return [known[title_id] for title_id in title_ids if title_id in known]


def _first_picture(meta: sqlite3.Connection, author: str) -> str | None:
    row = meta.execute(
        "select p.picture_id from names n join pictures p using (title_no)"
        " where n.kind = 'author' and n.name = ? limit 1",
        (author,),
    ).fetchone()
    return None if row is None else str(row[0])


def _pictures(rows: list[Any], offset: int) -> list[dict[str, Any]]:
    keys = ("year", "picture_id", "kind", "episode_no", "width_px", "height_px")
    return [dict(zip(keys, row[1:], strict=True)) for row in rows[offset : offset + MAX_PICTURES]]


def _neighbours(opened: OpenEngine, rows: list[Any], options: QueryOptions) -> list[dict[str, Any]]:
    """Titles drawn like the mean of these pictures."""
    ids = np.asarray([row[0] for row in rows], np.int64)
    spread = ids[np.linspace(0, len(ids) - 1, min(len(ids), STYLE_PICTURES)).astype(int)]
    answer = opened.engine.answer(opened.common_style(spread), options)
    return hits(answer, "title", None)


def _distinct_authors(titles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each main author once, with the title that came nearest."""
    seen: dict[str, dict[str, Any]] = {}
    for one in titles:
        if one["authors"]:
            seen.setdefault(one["authors"][0], {**one, "author": one["authors"][0]})
    return list(seen.values())[:NEIGHBOURS]


# --- The route of colours: swatches for pictures that are being looked at.


@router.get("/colors", responses=errors())
async def colors(
    service: TheService,
    picture: Annotated[list[Annotated[str, Query(max_length=64)]], Query(max_length=200)],
) -> Response:
    """The main colours of each of these pictures, where the catalog has them."""
    known = [one for one in picture if PICTURE_ID.fullmatch(one)]
    found = await asyncio.to_thread(service.swatches.of_pictures, known)
    return JSONResponse({"colors": found})
