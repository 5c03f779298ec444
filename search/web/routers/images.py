"""The route of small pictures: an id and one of three sizes, never a path."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from search.web.dependencies import TheService
from search.web.errors import not_found
from search.web.image_pool import PICTURE_ID, SIDES_PX
from search.web.models import errors

router = APIRouter(prefix="/v1", tags=["pictures"])


@router.get(
    "/pictures/{picture_id}",
    responses={200: {"content": {"image/webp": {}}}, **errors(404, 415)},
    response_class=Response,
)
async def picture(
    picture_id: str,
    request: Request,
    service: TheService,
    size: Annotated[Literal["small", "medium", "large"], Query()] = "medium",
) -> Response:
    """A picture of the index, re-encoded at 200, 400 or 1280 pixels."""
    if not PICTURE_ID.fullmatch(picture_id):
        raise not_found("the index holds no such picture")
    headers = {"Cache-Control": "private, max-age=86400", "ETag": f'"{picture_id[:32]}-{size}"'}
    async with service.engines.lease() as opened:
        made = await service.smalls.get(opened, picture_id, SIDES_PX[size])
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(made.data, media_type="image/webp", headers=headers)
