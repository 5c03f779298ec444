"""The route of SQL from visitors: off unless the setting web.sql says on."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from search.web.dependencies import TheService
from search.web.errors import Refused
from search.web.models import errors

router = APIRouter(prefix="/v1", tags=["sql"])


class Statement(BaseModel):
    """One SELECT statement; `parameters` are its named values ($name)."""

    sql: str = Field(max_length=20_000)
    parameters: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict, max_length=50
    )


class Rows(BaseModel):
    """What it gave; `truncated` when there was more."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    truncated: bool
    elapsed_ms: float


@router.post("/sql", responses={200: {"model": Rows}, **errors(403)})
async def sql(body: Statement, service: TheService) -> Response:
    """Ask the catalog, in a process of its own that reads one snapshot and can do no more."""
    sandbox = service.sandbox
    if sandbox is None:
        raise Refused(403, "off", "SQL is turned off on this server")
    found = await asyncio.to_thread(sandbox.run, body.sql, body.parameters)
    return JSONResponse(
        {
            "columns": list(found.columns),
            "types": list(found.types),
            "rows": found.rows,
            "truncated": found.truncated,
            "elapsed_ms": round(found.elapsed_ms, 3),
        }
    )
