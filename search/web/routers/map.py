"""The map of styles: every picture as a dot, drawn once for a generation and kept."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from indexer.vector_index.generations import Generation
from schemas.records import era_of
from search.web.dependencies import Service, TheService
from search.web.engine_pool import OpenEngine
from search.web.errors import Refused
from search.web.map_worker import MAX_POINTS, mapped_rows
from search.web.models import errors

router = APIRouter(prefix="/v1", tags=["map"])
GROUPS = 11
"""Labels of a kind that get a colour of their own; the others share one."""
OTHERS = 255
POINT = np.dtype([("x", "<u2"), ("y", "<u2"), ("genre", "u1"), ("era", "u1"), ("author", "u1")])


def _drawn(service: Service, opened: OpenEngine) -> dict[str, Any]:
    """The map of a generation, read once: points, row ids, and the names of the colours."""
    if "map" not in opened.derived:
        generation = opened.engine.generation
        places = np.load(service.maps.path(generation.id), allow_pickle=False)  # (N, 2)
        rows = mapped_rows(_row_ids(generation.meta))
        if places.shape != (len(rows), 2):
            raise Refused(503, "map", "the map does not fit the index", "Remove it from the cache.")
        points = np.zeros(len(rows), POINT)
        points["x"], points["y"] = (np.clip(places, 0, 1) * 65535).astype(np.uint16).T
        labels = _colour(generation, rows, points)
        opened.derived["map"] = {"points": points.tobytes(), "rows": rows, "labels": labels}
    found: dict[str, Any] = opened.derived["map"]
    return found


def _row_ids(meta: sqlite3.Connection) -> np.ndarray:
    return np.fromiter((r[0] for r in meta.execute("select row_id from pictures")), np.int64)


def _colour(generation: Generation, rows: np.ndarray, points: np.ndarray) -> dict[str, list[str]]:
    """Give each point the number of its genre, era and author; returns their names."""
    era_years = generation.calibration.era_years
    known: dict[int, tuple[str | None, str | None, str | None]] = {
        row[0]: (row[1], era_of(row[2], era_years), row[3])
        for row in generation.meta.execute(
            "select p.row_id, t.genre, coalesce(p.year, t.year), t.author"
            " from pictures p join titles t using (title_no)"
        )
    }
    found = [known[row] for row in rows.tolist()]
    labels: dict[str, list[str]] = {}
    for column, kind in enumerate(("genre", "era", "author")):
        counts = Counter(name for entry in found if (name := entry[column]))
        names = [name for name, _ in counts.most_common(GROUPS)]
        labels[kind] = sorted(names) if kind == "era" else names
        number = {name: n for n, name in enumerate(labels[kind])}
        points[kind] = [number.get(entry[column] or "", OTHERS) for entry in found]
    return labels


@router.get("/map", responses=errors())
async def state(service: TheService) -> Response:
    """Whether the map is drawn, and what its colours mean."""
    async with service.engines.lease() as opened:
        generation = opened.engine.generation
        said: dict[str, Any] = {
            "state": service.maps.want(generation.id),
            "generation": generation.id,
            "pictures_count": generation.pictures_count,
            "points_count": min(generation.pictures_count, MAX_POINTS),
            "labels": {},
        }
        if said["state"] == "ready":
            drawn = await service.engines.run(lambda: _drawn(service, opened))
            said["labels"] = drawn["labels"]
        return JSONResponse(said)


@router.get(
    "/map/points",
    responses={200: {"content": {"application/octet-stream": {}}}, **errors(404)},
    response_class=Response,
)
async def points(service: TheService) -> Response:
    """Seven bytes for each point: x and y (16 bits, little-endian), genre, era, author."""
    async with service.engines.lease() as opened:
        if service.maps.want(opened.engine.generation.id) != "ready":
            raise Refused(404, "not_found", "the map is not drawn yet", "Ask /v1/map again.")
        drawn = await service.engines.run(lambda: _drawn(service, opened))
    return Response(drawn["points"], media_type="application/octet-stream")


@router.get("/map/pictures", responses=errors(404))
async def pictures(
    service: TheService,
    n: Annotated[list[Annotated[int, Query(ge=0, le=MAX_POINTS)]], Query(max_length=60)],
) -> Response:
    """What the points with these numbers are."""
    async with service.engines.lease() as opened:
        if service.maps.want(opened.engine.generation.id) != "ready":
            raise Refused(404, "not_found", "the map is not drawn yet", "Ask /v1/map again.")

        def work() -> list[dict[str, Any]]:
            rows = _drawn(service, opened)["rows"]
            known = {int(rows[one]): one for one in n if one < len(rows)}
            cursor = opened.engine.generation.meta.execute(
                "select p.row_id, p.picture_id, t.title_id, coalesce(t.name, t.title_id),"
                " t.author, coalesce(p.year, t.year) from json_each(?) j"
                " join pictures p on p.row_id = j.value join titles t using (title_no)",
                (json.dumps(list(known)),),
            )
            keys = ("picture_id", "title_id", "title", "author", "year")
            return [{"n": known[row[0]], **dict(zip(keys, row[1:], strict=True))} for row in cursor]

        return JSONResponse({"pictures": await service.engines.run(work)})
