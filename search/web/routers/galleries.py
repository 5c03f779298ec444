"""Routes of galleries; whatever writes needs an account."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from search.web import galleries
from search.web.accounts import Account, account_of, secret_of
from search.web.dependencies import Service, TheService
from search.web.errors import Refused, not_found
from search.web.image_pool import PICTURE_ID
from search.web.models import errors

router = APIRouter(prefix="/v1/galleries", tags=["galleries"])
WRITES = errors(401, 403, 404, 409, 507)


class NewGallery(BaseModel):
    name: str = Field(max_length=400)
    public: bool = False


class GalleryChange(BaseModel):
    name: str | None = Field(default=None, max_length=400)
    public: bool | None = None


class GalleryPicture(BaseModel):
    picture_id: str = Field(max_length=64)


async def _somebody(request: Request, service: Service) -> Account | None:
    if service.settings.web.accounts == "off":
        raise Refused(403, "off", "this server keeps no accounts")
    secret = secret_of(request)
    return await service.store.run(lambda: account_of(service.store, secret))


async def _owner(request: Request, service: Service) -> Account:
    account = await _somebody(request, service)
    if account is None:
        raise Refused(401, "sign_in", "you need to sign in first")
    return account


@router.get("", responses=errors(403))
async def all_galleries(request: Request, service: TheService) -> Response:
    """One's own galleries, and the public ones."""
    account = await _somebody(request, service)
    return JSONResponse(await service.store.run(lambda: galleries.listed(service.store, account)))


@router.post("", responses=WRITES)
async def create(body: NewGallery, request: Request, service: TheService) -> Response:
    """A new gallery."""
    account = await _owner(request, service)
    key = await service.store.run(
        lambda: galleries.created(service.store, account, body.name, body.public)
    )
    return await show(key, request, service)


@router.get("/{gallery_id}", responses=errors(403, 404))
async def show(gallery_id: str, request: Request, service: TheService) -> Response:
    """A gallery, with what the index says of its pictures."""
    account = await _somebody(request, service)
    found = await service.store.run(lambda: galleries.shown(service.store, account, gallery_id))
    async with service.engines.lease() as opened:
        meta = opened.engine.generation.meta
        names = {
            row[0]: {"title": row[1] or row[0], "authors": json.loads(row[2])}
            for row in meta.execute(
                "select title_id, name, authors from titles"
                " where title_id in (select value from json_each(?))",
                (json.dumps(sorted({one["title_id"] for one in found["pictures"]})),),
            )
        }
    nothing: dict[str, Any] = {"title": None, "authors": []}
    for one in found["pictures"]:
        one.update(names.get(one["title_id"], nothing))
    return JSONResponse(found)


@router.patch("/{gallery_id}", responses=WRITES)
async def change(
    gallery_id: str, body: GalleryChange, request: Request, service: TheService
) -> Response:
    """Rename, publish, withdraw."""
    account = await _owner(request, service)
    await service.store.run(
        lambda: galleries.changed(service.store, account, gallery_id, body.name, body.public)
    )
    return await show(gallery_id, request, service)


@router.delete("/{gallery_id}", status_code=204, responses=WRITES)
async def remove(gallery_id: str, request: Request, service: TheService) -> Response:
    """Delete a gallery."""
    account = await _owner(request, service)
    await service.store.run(lambda: galleries.removed(service.store, account, gallery_id))
    return Response(status_code=204)


@router.post("/{gallery_id}/pictures", status_code=204, responses=WRITES)
async def put_picture(
    gallery_id: str, body: GalleryPicture, request: Request, service: TheService
) -> Response:
    """Put a picture of the index into a gallery."""
    account = await _owner(request, service)
    row = None
    if PICTURE_ID.fullmatch(body.picture_id):
        async with service.engines.lease() as opened:
            row = opened.engine.generation.meta.execute(
                "select t.title_id from pictures p join titles t using (title_no)"
                " where p.picture_id = ? limit 1",
                (body.picture_id,),
            ).fetchone()
    if row is None:
        raise not_found("the index holds no such picture")
    await service.store.run(
        lambda: galleries.put_picture(service.store, account, gallery_id, body.picture_id, row[0])
    )
    return Response(status_code=204)


@router.delete("/{gallery_id}/pictures/{picture_id}", status_code=204, responses=WRITES)
async def take_picture(
    gallery_id: str, picture_id: str, request: Request, service: TheService
) -> Response:
    """Take a picture out of a gallery."""
    account = await _owner(request, service)
    await service.store.run(
        lambda: galleries.take_picture(service.store, account, gallery_id, picture_id)
    )
    return Response(status_code=204)
