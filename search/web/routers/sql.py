"""The route of SQL from visitors: off unless the setting web.sql says on."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from search.web.dependencies import ServiceDependency
from search.web.errors import ApiError
from search.web.models import Rows, Statement, errors

router = APIRouter(prefix="/v1", tags=["sql"])


@router.post("/sql", response_model=Rows, responses=errors(403))
async def sql(body: Statement, service: ServiceDependency) -> dict[str, Any]:
    """Ask the catalog, in a process of its own that reads one snapshot and can do no more."""
    sandbox = service.sandbox
    if sandbox is None:
        raise ApiError(403, "off", "SQL is turned off on this server")
    found = await asyncio.to_thread(sandbox.run, body.sql, body.parameters)
    return {
        "columns": list(found.columns),
        "types": list(found.types),
        "rows": found.rows,
        "truncated": found.truncated,
        "elapsed_ms": round(found.elapsed_ms, 3),
    }
