"""Routes about who is here and what this server offers."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from search.web.models import Session, errors
from search.web.service import TheService

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.get("/session", responses={200: {"model": Session}, **errors()})
async def session(service: TheService) -> Response:
    """Who is signed in, and what is turned on."""
    web = service.settings.web
    return JSONResponse(
        {
            "account": None,
            "accounts": "off",
            "share_days": web.share_days,
            "url_queries": web.url_queries == "on",
            "sql": web.sql == "on",
        }
    )
