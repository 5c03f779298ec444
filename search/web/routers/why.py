"""Routes that say which parts of a picture asked about and of a hit make them alike."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from search.inputs import QueryPicture
from search.panels import Cutting
from search.web.dependencies import Opened, Pictures, Service, ServiceDependency
from search.web.engine_pool import OpenEngine
from search.web.errors import ApiError
from search.web.image_pool import SIDES_PX
from search.web.models import WhyAnswer, errors
from search.web.routers.query import BODY
from search.why import Map, whole_spec, why

router = APIRouter(prefix="/v1", tags=["query"])
PictureId = Annotated[str, Query(max_length=64, description="A picture of the index.")]


@router.post(
    "/why",
    response_model=WhyAnswer,
    responses=errors(400, 404, 408, 413, 415),
    openapi_extra=BODY,
)
async def why_picture(
    service: ServiceDependency, opened: Opened, pictures: Pictures, picture: PictureId
) -> dict[str, Any]:
    """Which parts of the picture in the body, or of its `crop`, make it like a picture of the
    index, and which parts of that one."""
    if len(pictures) > 1:
        raise ApiError(422, "form", "one picture is compared at a time", "Send one.")
    return await _why(service, opened, pictures[0], picture)


@router.get("/why", response_model=WhyAnswer, responses=errors(404, 415))
async def why_stored(
    service: ServiceDependency, opened: Opened, picture: PictureId, asked: PictureId
) -> dict[str, Any]:
    """The same of two pictures of the index; `asked` is that which was asked about."""
    return await _why(service, opened, await _stored(service, opened, asked), picture)


async def _stored(service: Service, opened: OpenEngine, picture_id: str) -> QueryPicture:
    """The copy of a picture of the index that a visitor sees large; of a panel, that panel."""
    copy = await service.thumbnails.get(opened, picture_id, SIDES_PX["large"])
    return QueryPicture("the picture that was found", copy.data)


async def _why(
    service: Service, opened: OpenEngine, asked: QueryPicture, picture_id: str
) -> dict[str, Any]:
    hit = await _stored(service, opened, picture_id)
    encoder = opened.engine.encoder
    seen = await service.decoders.see([asked, hit], whole_spec(encoder.pixel_spec), Cutting("off"))
    seen.check()
    async with service.why_turn:  # as much work as fifty queries
        found = await run_in_threadpool(why, encoder, *seen.pixels)
    return {
        "similarity": round(found.similarity, 6),
        "query": _body(found.query),
        "hit": _body(found.hit),
    }


def _body(one: Map) -> dict[str, Any]:
    return {
        "box": [round(share, 6) for share in one.box],
        "falls": [[round(fall, 6) for fall in row] for row in one.falls.tolist()],
        "even": one.is_even,
    }
