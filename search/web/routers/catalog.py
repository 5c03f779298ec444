"""Routes about what the index holds: titles, authors, pictures, colours, what to filter by."""

from __future__ import annotations

import asyncio
import difflib
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from indexer.vector_index.ranking import unit
from search.engine import QueryOptions
from search.filters import Filters, folded
from search.output.data import hits
from search.web.colors import ColorShares
from search.web.dependencies import Opened, Service, ServiceDependency
from search.web.engine_pool import OpenEngine
from search.web.errors import not_found
from search.web.image_pool import PICTURE_ID, SIDES_PX
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
PICTURES_OF_TITLE = """
select p.row_id, p.year, p.picture_id, p.kind, p.episode_no, p.width_px, p.height_px
from pictures p join titles t using (title_no) where t.title_id = ?
order by p.kind, p.episode_no, p.year, p.picture_id
"""
PICTURES_OF_AUTHOR = """
select p.row_id, coalesce(p.year, t.year) as year, p.picture_id, t.title_id,
  coalesce(nullif(t.name, ''), t.title_id) as title
from pictures p join titles t using (title_no) join names n using (title_no)
where n.kind = 'author' and n.name = ? order by p.picture_id
"""
CARDS = """
select t.title_id, coalesce(nullif(t.name, ''), t.title_id) as title, t.authors, t.genres,
  t.year, t.url, t.platform,
  (select count(*) from pictures p where p.title_no = t.title_no) as pictures_count,
  (select p.picture_id from pictures p where p.title_no = t.title_no
   order by p.kind = 'cover' desc, p.picture_id limit 1) as picture_id
from json_each(?) j join titles t on t.title_id = j.value order by j.key
"""
NAMES = {
    "title": """
select t.title_id, coalesce(nullif(t.name, ''), t.title_id), count(*), min(p.picture_id)
from titles t join pictures p using (title_no) group by t.title_no
""",
    "author": """
select n.name, n.name, count(*), min(p.picture_id)
from names n join pictures p using (title_no) where n.kind = 'author' group by n.name
""",
}
Picture = dict[str, Any]
"""A picture of the metadata: `row_id`, `picture_id`, `year` and more."""
Offset = Annotated[int, Query(ge=0, le=10_000_000)]
Text = Annotated[str, Query(max_length=200)]


@router.get("/titles", response_model=TitleList, responses=errors())
def titles(opened: Opened, q: Text = "", genre: Text = "", offset: Offset = 0) -> dict[str, Any]:
    """Titles by name, a page at a time, each with one picture."""
    found = [entry.key for entry in search_names(opened, "title", q)]
    if genre:
        rows = opened.meta.execute(
            "select title_id from titles join names n using (title_no)"
            " where n.kind = 'genre' and n.name = ?",
            (genre,),
        )
        of_genre = {row[0] for row in rows}
        found = [key for key in found if key in of_genre]
    return {"count": len(found), "titles": _cards(opened, found[offset : offset + PAGE])}


@router.get("/authors", response_model=AuthorList, responses=errors())
def authors(opened: Opened, q: Text = "", offset: Offset = 0) -> dict[str, Any]:
    """Authors by name, a page at a time, each with one picture."""
    found = search_names(opened, "author", q)
    page = [{"author": entry.name, **entry._asdict()} for entry in found[offset : offset + PAGE]]
    return {"count": len(found), "authors": page}


@router.get(
    "/titles/{title_id:path}",
    response_model=TitlePage,
    response_model_exclude_unset=True,
    responses=errors(404),
)
def title(
    title_id: str, opened: Opened, service: ServiceDependency, offset: Offset = 0
) -> dict[str, Any]:
    """A title: its pictures, what is drawn alike, how its style moved."""
    cards = _cards(opened, [title_id])
    if not cards:
        raise not_found("the index holds no such title")
    rows = opened.records(PICTURES_OF_TITLE, title_id)
    page = {**cards[0], "pictures": rows[offset : offset + MAX_PICTURES]}
    if offset == 0:
        options = QueryOptions(k=NEIGHBOURS, filters=Filters(exclude_titles=(title_id,)))
        page["similar"] = _similar_titles(opened, rows, options)
        page["drift"] = drift(opened, rows)
        page["palette"] = _palette(service, rows)
    return page


@router.get("/authors/{name:path}", response_model=AuthorPage, responses=errors(404))
def author(name: str, opened: Opened, service: ServiceDependency) -> dict[str, Any]:
    """An author: titles, who draws alike, how the style moved."""
    rows = opened.records(PICTURES_OF_AUTHOR, name)
    if not rows:
        raise not_found("the index holds no such author")
    own = sorted({(row["title"], row["title_id"]) for row in rows})
    options = QueryOptions(k=6 * NEIGHBOURS, filters=Filters(exclude_authors=(name,)))
    similar: dict[str, dict[str, Any]] = {}  # each main author with the title that came nearest
    for one in _similar_titles(opened, rows, options):
        if one["authors"]:
            similar.setdefault(one["authors"][0], {**one, "author": one["authors"][0]})
    return {
        "author": name,
        "pictures_count": len(rows),
        "titles_count": len(own),
        "titles": _cards(opened, [title_id for _, title_id in own[:MAX_PICTURES]]),
        "similar": list(similar.values())[:NEIGHBOURS],
        "drift": drift(opened, rows),
        "palette": _palette(service, rows),
    }


@router.get("/facets", response_model=Facets, responses=errors())
def facets(opened: Opened, service: ServiceDependency) -> dict[str, Any]:
    """What the index can be filtered by, with the number of pictures of each."""
    return {**opened.once("facets", _facets), "colors": service.colors.are_known()}


@router.get("/colors", response_model=Colors, responses=errors())
async def colors(
    service: ServiceDependency,
    picture: Annotated[list[Annotated[str, Query(max_length=64)]], Query(max_length=200)],
) -> dict[str, Any]:
    """The main colours of each of these pictures, where the catalog has them."""
    known = [one for one in picture if PICTURE_ID.fullmatch(one)]
    return {"colors": await asyncio.to_thread(service.colors.of_pictures, known)}


@router.get(
    "/pictures/{picture_id}",
    responses={200: {"content": {"image/webp": {}}}, **errors(404, 415)},
    response_class=Response,
)
async def picture(
    picture_id: str,
    request: Request,
    service: ServiceDependency,
    opened: Opened,
    size: Literal["small", "medium", "large"] = "medium",
) -> Response:
    """A picture of the index, re-encoded at 200, 400 or 1280 pixels; the small ones without the
    wide margins of a drawing on paper."""
    made = await service.thumbnails.get(opened, picture_id, SIDES_PX[size])
    headers = {"Cache-Control": "private, max-age=86400", "ETag": f'"{picture_id[:32]}-{size}-2"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(made.data, media_type="image/webp", headers=headers)


def _facets(opened: OpenEngine) -> dict[str, Any]:
    genres = opened.records(
        "select n.name, count(*) as pictures_count from names n join pictures p using (title_no)"
        " where n.kind = 'genre' group by n.name order by 2 desc, 1 limit 200"
    )
    platforms = opened.records(
        "select t.platform as name, count(*) as pictures_count from titles t join pictures p using (title_no)"
        " where t.platform is not null group by 1 order by 2 desc, 1 limit 50"
    )
    years = opened.records(
        "select min(coalesce(p.year, t.year)) as first, max(coalesce(p.year, t.year)) as last"
        " from pictures p join titles t using (title_no)"
    )
    return {
        "genres": genres,
        "platforms": platforms,
        "years": years[0],
        "pictures_count": opened.generation.pictures_count,
        "titles_count": opened.generation.titles_count,
        "authors_count": opened.generation.authors_count,
        "generation": opened.generation.id,
        "subjects": opened.generation.has_subjects,
    }


def _cards(opened: OpenEngine, title_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Titles as they are listed, in the order of their ids."""
    cards = opened.records(CARDS, json.dumps(title_ids))
    for card in cards:
        card["authors"], card["genres"] = json.loads(card["authors"]), json.loads(card["genres"])
    return cards


def _similar_titles(
    opened: OpenEngine, pictures: Sequence[Picture], options: QueryOptions
) -> list[dict[str, Any]]:
    """Titles drawn like the mean of these pictures."""
    ids = np.asarray([picture["row_id"] for picture in pictures], np.int64)
    spread = ids[np.linspace(0, len(ids) - 1, min(len(ids), CENTROID_PICTURES)).astype(int)]
    answer = opened.engine.answer(opened.centroid(spread), options)
    return hits(answer, "title", None)


def _palette(service: Service, pictures: Sequence[Picture]) -> ColorShares:
    return service.colors.of_all([one["picture_id"] for one in pictures[:PALETTE_PICTURES]])


def drift(opened: OpenEngine, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """How a style moved: each year's mean picture against the first year's, oldest first;
    nothing when there are too few years. A year is shown by the picture nearest to its mean."""
    years: dict[int, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if picture["year"] is not None:
            years[picture["year"]].append(picture)
    if len(years) < MIN_YEARS:
        return []
    found: list[dict[str, Any]] = []
    first: np.ndarray | None = None
    for year in sorted(years):
        some = years[year][:MAX_PICTURES_PER_YEAR]
        vectors = opened.generation.vectors([one["row_id"] for one in some])  # (N, D)
        mean = unit(vectors.mean(axis=0))
        first = mean if first is None else first
        similarity = float(first @ mean)
        percentile = opened.engine.calibration.percentile(np.asarray(similarity))
        found.append(
            {
                "year": year,
                "pictures_count": len(vectors),
                "similarity": round(similarity, 4),
                "percentile": round(float(percentile), 3),
                "picture_id": some[int(np.argmax(vectors @ mean))]["picture_id"],
            }
        )
    return found


# --- Names are found as people type them: any part, any case, no accents.


class Entry(NamedTuple):
    """The name of a title (`key` is its id) or of an author (`key` is the name itself), with one
    of its pictures."""

    key: str
    name: str
    folded: str
    pictures_count: int
    picture_id: str


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

    def rank(entry: Entry) -> tuple[int, int, str]:
        name = entry.folded
        near = (name == wanted, name.startswith(wanted), f" {wanted}" in name, True)
        return near.index(True), -entry.pictures_count, name

    return sorted(found, key=rank)


def _names(opened: OpenEngine) -> dict[str, list[Entry]]:
    """All names of a generation, in the order of their folded form."""
    found: dict[str, list[Entry]] = {}
    for kind, sql in NAMES.items():
        rows = opened.meta.execute(sql)
        entries = [Entry(key, name, folded(name), *facts) for key, name, *facts in rows]
        found[kind] = sorted(entries, key=lambda entry: (entry.folded, entry.key))
    return found
