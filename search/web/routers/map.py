"""Routes of the map: every picture as a point, laid out when the index was built."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated, Any, NamedTuple

import numpy as np
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from schemas.records import era_of
from search.web.dependencies import Opened
from search.web.engine_pool import OpenEngine
from search.web.errors import not_found
from search.web.models import MapPictures, MapState, errors

router = APIRouter(prefix="/v1", tags=["map"])
MAX_POINTS = 30_000
"""More points hide each other; a larger index is shown by rows spread evenly over it."""
GROUPS = 11
"""Labels of a kind that get a colour of their own; the others share one."""
OTHERS = 255
POINT = np.dtype([("x", "<u2"), ("y", "<u2"), ("genre", "u1"), ("era", "u1"), ("author", "u1")])
NO_MAP_HINT = "Install toonsearch[map] and run `toonsearch index build --force`."


class Map(NamedTuple):
    """Points of POINT's layout, their row ids, and the names of the colours."""

    points: np.ndarray
    row_ids: list[int]
    labels: dict[str, list[str]]


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
    """Seven bytes for each point: x and y (16 bits, little-endian), genre, era, author."""
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
    for kind, column in (("genre", genres), ("era", eras), ("author", authors)):
        counts = Counter(name for name in column if name)
        labels[kind] = [name for name, _ in counts.most_common(GROUPS)]
        if kind == "era":
            labels[kind].sort()
        number = {name: n for n, name in enumerate(labels[kind])}
        points[kind] = [number.get(name or "", OTHERS) for name in column]
    return Map(points, list(row_ids), labels)
