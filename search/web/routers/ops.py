"""Routes for whoever runs the server: is it well, and how much does it do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from search.web.dependencies import TheService
from search.web.middleware import exposition
from search.web.models import errors

router = APIRouter(tags=["operation"])


@router.get("/healthz", responses=errors())
async def healthz(service: TheService) -> Response:
    """Ask the index and the catalog something; 200 when both answer."""
    async with service.engines.lease() as opened:

        def work() -> dict[str, Any]:
            generation = opened.engine.generation
            row = generation.meta.execute("select row_id from pictures limit 1").fetchone()
            found, _ = opened.engine.neighbours(generation.vectors(row)[0], 1)
            return {"nearest": round(float(found[0]), 3), "generation": generation.id}

        said = await service.engines.run(work)
    catalog = await service.engines.run(service.catalog_state)
    body = {
        "status": "ok" if service.engines.refused is None else "old index",
        **said,
        "catalog": catalog,
        "refused": service.engines.refused,
    }
    return JSONResponse(body)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: TheService) -> Response:
    """Counters for Prometheus."""
    return Response(exposition(service), media_type="text/plain; version=0.0.4")
