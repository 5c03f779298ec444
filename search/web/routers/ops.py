"""Routes for whoever runs the server: is it well, and how much does it do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from schemas.storage.layout import Layout
from search.web.dependencies import Opened, ServiceDependency
from search.web.models import Health, errors

router = APIRouter(tags=["operation"])


@router.get("/healthz", response_model=Health, responses=errors())
def healthz(opened: Opened, service: ServiceDependency) -> dict[str, Any]:
    """Ask the index and the catalog something; 200 when both answer."""
    row = opened.meta.execute("select row_id from pictures limit 1").fetchone()
    found, _ = opened.engine.neighbours(opened.generation.vectors(row)[0], 1)
    refused = service.engines.refused
    return {
        "status": "ok" if refused is None else "old index",
        "nearest": round(float(found[0]), 3),
        "generation": opened.generation.id,
        "catalog": _catalog_state(service.settings.layout),
        "refused": refused,
    }


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
