"""The route of colours: swatches for pictures that are being looked at."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from search.web.models import errors
from search.web.service import TheService
from search.web.smalls import PICTURE_ID

router = APIRouter(prefix="/v1", tags=["pictures"])


@router.get("/colors", responses=errors())
async def colors(
    service: TheService,
    picture: Annotated[list[Annotated[str, Query(max_length=64)]], Query(max_length=200)],
) -> Response:
    """The main colours of each of these pictures, where the catalog has them."""
    known = [one for one in picture if PICTURE_ID.fullmatch(one)]
    found = await asyncio.to_thread(service.swatches.of_pictures, known)
    return JSONResponse({"colors": found})
