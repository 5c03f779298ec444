"""Routes of galleries: pictures of the index that somebody put together; writing needs an
account."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter

from search.web.db import Account
from search.web.dependencies import Opened, Owner, Service, ServiceDependency, Visitor
from search.web.engine_pool import OpenEngine
from search.web.errors import not_found
from search.web.models import (
    Gallery,
    GalleryChange,
    GalleryList,
    NewGallery,
    NewGalleryPicture,
    errors,
)

router = APIRouter(prefix="/v1/galleries", tags=["galleries"])
WRITES = errors(401, 403, 404, 409, 507)


@router.get("", response_model=GalleryList, responses=errors(403))
async def all_galleries(visitor: Visitor, service: ServiceDependency) -> dict[str, Any]:
    """One's own galleries, and the public ones."""
    return await service.store.run(service.store.galleries, visitor)


@router.post("", response_model=Gallery, responses=WRITES)
async def create(
    body: NewGallery, owner: Owner, service: ServiceDependency, opened: Opened
) -> dict[str, Any]:
    """A new gallery."""
    key = await service.store.run(service.store.create_gallery, owner, body.name, body.public)
    return await _described(service, opened, owner, key)


@router.get("/{gallery_id}", response_model=Gallery, responses=errors(403, 404))
async def show(
    gallery_id: str, visitor: Visitor, service: ServiceDependency, opened: Opened
) -> dict[str, Any]:
    """A gallery, with what the index says of its pictures."""
    return await _described(service, opened, visitor, gallery_id)


@router.patch("/{gallery_id}", response_model=Gallery, responses=WRITES)
async def change(
    gallery_id: str, body: GalleryChange, owner: Owner, service: ServiceDependency, opened: Opened
) -> dict[str, Any]:
    """Rename, publish, withdraw."""
    await service.store.run(service.store.change_gallery, owner, gallery_id, body.name, body.public)
    return await _described(service, opened, owner, gallery_id)


@router.delete("/{gallery_id}", status_code=204, responses=WRITES)
async def remove(gallery_id: str, owner: Owner, service: ServiceDependency) -> None:
    """Delete a gallery."""
    await service.store.run(service.store.remove_gallery, owner, gallery_id)


@router.post("/{gallery_id}/pictures", status_code=204, responses=WRITES)
async def add_picture(
    gallery_id: str,
    body: NewGalleryPicture,
    owner: Owner,
    service: ServiceDependency,
    opened: Opened,
) -> None:
    """Put a picture of the index into a gallery."""
    row = opened.meta.execute(
        "select t.title_id from pictures p join titles t using (title_no)"
        " where p.picture_id = ? limit 1",
        (body.picture_id,),
    ).fetchone()
    if row is None:
        raise not_found("the index holds no such picture")
    await service.store.run(service.store.add_picture, owner, gallery_id, body.picture_id, row[0])


@router.delete("/{gallery_id}/pictures/{picture_id}", status_code=204, responses=WRITES)
async def remove_picture(
    gallery_id: str, picture_id: str, owner: Owner, service: ServiceDependency
) -> None:
    """Take a picture out of a gallery."""
    await service.store.run(service.store.remove_picture, owner, gallery_id, picture_id)


async def _described(
    service: Service, opened: OpenEngine, visitor: Account | None, key: str
) -> dict[str, Any]:
    """A gallery with the names of its titles."""
    found = await service.store.run(service.store.gallery, visitor, key)
    rows = opened.meta.execute(
        "select title_id, coalesce(name, title_id), authors from titles"
        " where title_id in (select value from json_each(?))",
        (json.dumps([one["title_id"] for one in found["pictures"]]),),
    )
    titles = {title_id: (name, json.loads(authors)) for title_id, name, authors in rows}
    for one in found["pictures"]:
        one["title"], one["authors"] = titles.get(one["title_id"], (None, []))
    return found
