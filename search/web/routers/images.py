"""The route of thumbnails: an id and one of three sizes, never a path."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from search.web.dependencies import Opened, ServiceDependency
from search.web.image_pool import SIDES_PX
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
    service: ServiceDependency,
    opened: Opened,
    size: Literal["small", "medium", "large"] = "medium",
) -> Response:
    """A picture of the index, re-encoded at 200, 400 or 1280 pixels; the small ones without the
    wide margins of a drawing on paper."""
    made = await service.thumbnails.get(opened, picture_id, SIDES_PX[size])
    headers = {"Cache-Control": "private, max-age=86400", "ETag": f'"{picture_id[:32]}-{size}-2"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(made.data, media_type="image/webp", headers=headers)
