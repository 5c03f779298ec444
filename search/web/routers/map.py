"""Routes of the map: every picture as a point, laid out when the index was built."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from schemas.records import era_of
from search.web.dependencies import Opened, ServiceDependency
from search.web.engine_pool import OpenEngine
from search.web.errors import ApiError, not_found
from search.web.models import MapFound, MapPictures, MapPlace, MapState, errors
from search.web.routers.catalog import search_names
from search.web.routers.query import usable_query

router = APIRouter(prefix="/v1", tags=["map"])
MAX_POINTS = 30_000
"""More points hide each other; a larger index is shown by rows spread evenly over it."""
MAX_LABELS = 2000
"""Labels of a kind that the legend names, those of most pictures; a point of another, or of none,
has OTHERS."""
OTHERS = 65535
KINDS = ("genre", "era", "author")
POINT = np.dtype([("x", "<u2"), ("y", "<u2"), *((kind, "<u2") for kind in KINDS)])
MAX_FOUND = 5000
"""Points that a search of names gives."""
NEAR = 10
PLACED_BY = 5
"""A query lies at the median of the places of so many nearest pictures, like a picture that joins
a map (`indexer/style_map.py`)."""
NO_MAP_HINT = "Install toonsearch[map] and run `toonsearch index build --force`."


class Map(NamedTuple):
    """Points of POINT's layout, their row ids, and the labels that they refer to."""

    points: np.ndarray
    row_ids: list[int]
    labels: dict[str, list[str]]
    number: dict[int, int]
    """The point of each row id."""


@router.get("/map", response_model=MapState, responses=errors())
def state(opened: Opened) -> dict[str, Any]:
    """Whether there is a map, and what its colours mean."""
    found = opened.once("map", read_map)
    return {
        "state": "none" if found is None else "ready",
        "hint": NO_MAP_HINT if found is None else "",
        "generation": opened.generation.id,
        "pictures_count": opened.generation.pictures_count,
        "points_count": 0 if found is None else len(found.points),
        "labels": {} if found is None else found.labels,
    }


def get_map(opened: Opened) -> Map:
    """The map of the index.

    Errors:  ApiError (404) when it was built without one
    """
    found = opened.once("map", read_map)
    if found is None:
        raise not_found("this index has no map", NO_MAP_HINT)
    return found


MapDependency = Annotated[Map, Depends(get_map)]


@router.get(
    "/map/points",
    responses={200: {"content": {"application/octet-stream": {}}}, **errors(404)},
    response_class=Response,
)
async def points(found: MapDependency) -> Response:
    """Ten bytes for each point, five little-endian numbers of 16 bits: x, y, and the places of its
    genre, era and author among the labels; 65535 where the labels do not hold it."""
    return Response(found.points.tobytes(), media_type="application/octet-stream")


@router.get("/map/pictures", response_model=MapPictures, responses=errors(404))
def pictures(
    opened: Opened,
    found: MapDependency,
    n: Annotated[list[Annotated[int, Query(ge=0, le=MAX_POINTS)]], Query(max_length=60)],
) -> dict[str, Any]:
    """What the points with these numbers are."""
    number = {found.row_ids[one]: one for one in n if one < len(found.row_ids)}
    rows = opened.records(
        "select p.row_id, p.picture_id, t.title_id, coalesce(t.name, t.title_id) as title,"
        " t.author, coalesce(p.year, t.year) as year from json_each(?) j"
        " join pictures p on p.row_id = j.value join titles t using (title_no)",
        json.dumps(list(number)),
    )
    return {"pictures": [{"n": number[row["row_id"]], **row} for row in rows]}


@router.get("/map/found", response_model=MapFound, responses=errors(404))
def found_points(
    opened: Opened, found: MapDependency, q: Annotated[str, Query(min_length=1, max_length=200)]
) -> dict[str, Any]:
    """The points of titles and authors with this in their names."""
    titles = [entry.key for entry in search_names(opened, "title", q)]
    authors = [entry.key for entry in search_names(opened, "author", q)]
    rows = opened.meta.execute(
        "select row_id from pictures where title_no in"
        " (select title_no from titles where title_id in (select value from json_each(?))"
        " union select title_no from names where kind = 'author'"
        " and name in (select value from json_each(?)))",
        (json.dumps(titles), json.dumps(authors)),
    )
    numbers = _numbers(found, [row[0] for row in rows])
    return {"count": len(numbers), "points": numbers[:MAX_FOUND]}


@router.get("/map/place", response_model=MapPlace, responses=errors(404, 410))
async def place(
    opened: Opened,
    found: MapDependency,
    service: ServiceDependency,
    result: Annotated[str | None, Query(max_length=200, description="Of a query.")] = None,
    picture: Annotated[str | None, Query(max_length=64, description="Of the index.")] = None,
) -> dict[str, Any]:
    """Where a query or a picture of the index lies, and the points of the nearest pictures."""
    if (result is None) == (picture is None):
        raise ApiError(422, "parameter", "give either a result or a picture")
    if result is not None:
        vector = (await usable_query(service, opened, result)).style.vector
        return await run_in_threadpool(_place, opened, found, vector, None)
    rows = opened.records("select row_id from pictures where picture_id = ?", picture)
    if not rows:
        raise not_found("the index holds no such picture")
    own = np.asarray([row["row_id"] for row in rows], np.int64)
    return await run_in_threadpool(_place, opened, found, opened.centroid(own).vector, own)


def _place(
    opened: OpenEngine, found: Map, vector: np.ndarray, own: np.ndarray | None
) -> dict[str, Any]:
    _, ids = opened.generation.index.search(vector[None], 4 * NEAR, None)
    near = [int(one) for one in ids[0] if own is None or one not in own]
    wanted = near if own is None else own.tolist()
    rows = opened.records(
        "select p.map_x as x, p.map_y as y from json_each(?) j"
        " join pictures p on p.row_id = j.value where p.map_x is not null order by j.key limit ?",
        json.dumps(wanted),
        PLACED_BY,
    )
    if not rows:
        raise not_found("nothing like this picture is on the map", NO_MAP_HINT)
    x, y = np.median([[row["x"], row["y"]] for row in rows], axis=0)
    return {"x": float(x), "y": float(y), "near": _numbers(found, near)[:NEAR]}


def _numbers(found: Map, row_ids: Sequence[int]) -> list[int]:
    """The points of these rows, in their order; a large map does not show all."""
    return [found.number[one] for one in row_ids if one in found.number]


def read_map(opened: OpenEngine) -> Map | None:
    """The map of a generation; None when it was built without one."""
    rows = opened.meta.execute(
        "select p.row_id, p.map_x, p.map_y, t.genre, coalesce(p.year, t.year), t.author"
        " from pictures p join titles t using (title_no) where p.map_x is not null order by 1"
    ).fetchall()
    if not rows:
        return None
    if len(rows) > MAX_POINTS:
        rows = [rows[n] for n in np.linspace(0, len(rows) - 1, MAX_POINTS).astype(int)]
    row_ids, x, y, genres, years, authors = zip(*rows, strict=True)
    points = np.zeros(len(rows), POINT)
    points["x"], points["y"] = (np.clip([x, y], 0, 1) * 65535).astype(np.uint16)
    era_years = opened.engine.calibration.era_years
    eras = [era_of(year, era_years) for year in years]
    labels: dict[str, list[str]] = {}
    for kind, column in zip(KINDS, (genres, eras, authors), strict=True):
        counts = Counter(name for name in column if name)
        labels[kind] = [name for name, _ in counts.most_common(MAX_LABELS)]
        if kind == "era":
            labels[kind].sort()
        number = {name: n for n, name in enumerate(labels[kind])}
        points[kind] = [number.get(name or "", OTHERS) for name in column]
    return Map(points, list(row_ids), labels, {row: n for n, row in enumerate(row_ids)})
