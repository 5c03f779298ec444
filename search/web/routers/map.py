"""Routes of the map: every picture as a point, laid out when the index was built."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated, Any, NamedTuple

import numpy as np
from fastapi import APIRouter, Query
from starlette.responses import Response

from indexer.vector_index.generations import Generation
from schemas.records import era_of
from search.web.dependencies import ServiceDependency
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
NO_MAP = "this index has no map"
NO_MAP_HINT = "Install toonsearch[map] and run `toonsearch index build --force`."


class Map(NamedTuple):
    """Points of POINT's layout, their row ids, and the names of the colours."""

    points: np.ndarray
    row_ids: list[int]
    labels: dict[str, list[str]]


@router.get("/map", response_model=MapState, responses=errors())
async def state(service: ServiceDependency) -> dict[str, Any]:
    """Whether there is a map, and what its colours mean."""
    async with service.engines.lease() as opened:
        found = await service.engines.run(lambda: opened.once("map", read_map))
        generation = opened.engine.generation
        return {
            "state": "none" if found is None else "ready",
            "hint": NO_MAP_HINT if found is None else "",
            "generation": generation.id,
            "pictures_count": generation.pictures_count,
            "points_count": 0 if found is None else len(found.points),
            "labels": {} if found is None else found.labels,
        }


@router.get(
    "/map/points",
    responses={200: {"content": {"application/octet-stream": {}}}, **errors(404)},
    response_class=Response,
)
async def points(service: ServiceDependency) -> Response:
    """Seven bytes for each point: x and y (16 bits, little-endian), genre, era, author."""
    async with service.engines.lease() as opened:
        found = await service.engines.run(lambda: _map_of(opened))
    return Response(found.points.tobytes(), media_type="application/octet-stream")


@router.get("/map/pictures", response_model=MapPictures, responses=errors(404))
async def pictures(
    service: ServiceDependency,
    n: Annotated[list[Annotated[int, Query(ge=0, le=MAX_POINTS)]], Query(max_length=60)],
) -> dict[str, Any]:
    """What the points with these numbers are."""
    async with service.engines.lease() as opened:

        def work() -> list[dict[str, Any]]:
            row_ids = _map_of(opened).row_ids
            number = {row_ids[one]: one for one in n if one < len(row_ids)}
            cursor = opened.engine.generation.meta.execute(
                "select p.row_id, p.picture_id, t.title_id, coalesce(t.name, t.title_id),"
                " t.author, coalesce(p.year, t.year) from json_each(?) j"
                " join pictures p on p.row_id = j.value join titles t using (title_no)",
                (json.dumps(list(number)),),
            )
            keys = ("picture_id", "title_id", "title", "author", "year")
            return [
                {"n": number[row[0]], **dict(zip(keys, row[1:], strict=True))} for row in cursor
            ]

        return {"pictures": await service.engines.run(work)}


def _map_of(opened: OpenEngine) -> Map:
    found = opened.once("map", read_map)
    if found is None:
        raise not_found(NO_MAP, NO_MAP_HINT)
    return found


def read_map(opened: OpenEngine) -> Map | None:
    """The map of a generation; None when it was built without one."""
    generation = opened.engine.generation
    rows = generation.meta.execute(
        "select row_id, map_x, map_y from pictures where map_x is not null order by row_id"
    ).fetchall()
    if not rows:
        return None
    if len(rows) > MAX_POINTS:
        rows = [rows[n] for n in np.linspace(0, len(rows) - 1, MAX_POINTS).astype(int)]
    row_ids = [row[0] for row in rows]
    found = np.zeros(len(rows), POINT)
    places = np.asarray([row[1:] for row in rows], np.float64)
    found["x"], found["y"] = (np.clip(places, 0, 1) * 65535).astype(np.uint16).T
    return Map(found, row_ids, color_points(generation, row_ids, found))


def color_points(
    generation: Generation, row_ids: list[int], points: np.ndarray
) -> dict[str, list[str]]:
    """Give each point the number of its genre, era and author; returns their names."""
    era_years = generation.calibration.era_years
    known: dict[int, tuple[str | None, str | None, str | None]] = {
        row[0]: (row[1], era_of(row[2], era_years), row[3])
        for row in generation.meta.execute(
            "select p.row_id, t.genre, coalesce(p.year, t.year), t.author"
            " from pictures p join titles t using (title_no)"
        )
    }
    found = [known[row] for row in row_ids]
    labels: dict[str, list[str]] = {}
    for column, kind in enumerate(("genre", "era", "author")):
        counts = Counter(name for entry in found if (name := entry[column]))
        names = [name for name, _ in counts.most_common(GROUPS)]
        labels[kind] = sorted(names) if kind == "era" else names
        number = {name: n for n, name in enumerate(labels[kind])}
        points[kind] = [number.get(entry[column] or "", OTHERS) for entry in found]
    return labels
