"""Routes for whoever runs the server: is it well, and how much does it do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from schemas.storage.layout import Layout
from search.web.dependencies import ServiceDependency
from search.web.models import Health, errors

router = APIRouter(tags=["operation"])


@router.get("/healthz", response_model=Health, responses=errors())
async def healthz(service: ServiceDependency) -> dict[str, Any]:
    """Ask the index and the catalog something; 200 when both answer."""
    async with service.engines.lease() as opened:

        def work() -> dict[str, Any]:
            generation = opened.engine.generation
            row = generation.meta.execute("select row_id from pictures limit 1").fetchone()
            found, _ = opened.engine.neighbours(generation.vectors(row)[0], 1)
            return {
                "nearest": round(float(found[0]), 3),
                "generation": generation.id,
                "catalog": _catalog_state(service.layout),
            }

        found = await service.engines.run(work)
    refused = service.engines.refused
    return {"status": "ok" if refused is None else "old index", **found, "refused": refused}


def _catalog_state(layout: Layout) -> str:
    """Whether the tables that the index was built from can be read."""
    log = layout.table("titles") / "_delta_log"
    try:
        entries = sorted(log.glob("*.json"))
        return "ok" if entries and entries[-1].read_bytes() else "missing"
    except OSError:
        return "unreadable"


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: ServiceDependency) -> Response:
    """Figures for Prometheus."""
    text = generate_latest(service.metrics.registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})
