"""Routes of galleries: pictures of the index that somebody put together.

What is stored here needs an account. Any gallery, also one that a browser keeps for itself, can be
had as a file.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from typing import IO, Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from schemas.errors import ToonsearchError
from schemas.records import Panel
from search.output.html import panel_place, render_pictures
from search.web.db import Account
from search.web.dependencies import Opened, Owner, Service, ServiceDependency, Visitor
from search.web.engine_pool import OpenEngine
from search.web.errors import not_found
from search.web.image_pool import SIDES_PX
from search.web.models import (
    Gallery,
    GalleryChange,
    GalleryFile,
    GalleryList,
    NewGallery,
    NewGalleryPicture,
    errors,
)
from search.web.routers.query import page_thumbnails

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


# --- A gallery as a file. Its ids come with the request, so that it need not be stored here.

FACTS = """
select p.picture_id, t.title_id, coalesce(nullif(t.name, ''), t.title_id) as title, t.authors,
  t.genres, coalesce(p.year, t.year) as year, t.url, p.panel, p.episode_no, p.episode_url
from json_each(?) asked
join pictures p on p.row_id = (select min(row_id) from pictures where picture_id = asked.value)
join titles t using (title_no) order by asked.key
"""
LIST_COLUMNS = ("path", "author", "title", "title_id", "genre", "year", "url", "picture_id")
"""Of the list beside the pictures, which `toonsearch import manifest` reads."""
CHUNK_BYTES = 1 << 16


@router.post(
    "/file",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}, "text/html": {}}}, **errors(404, 507)},
)
async def as_file(body: GalleryFile, service: ServiceDependency, opened: Opened) -> Response:
    """Pictures of the index as a folder (zip) or as one HTML page, in this order.

    The folder has the pictures at no more than 1280 pixels, and a list of them that can be
    imported. Pictures that the index no longer has are left out; the header `Left-Out` counts them.
    """
    asked = list(dict.fromkeys(body.pictures))
    rows = opened.records(FACTS, json.dumps(asked))
    if not rows:
        raise not_found("the index holds none of these pictures")
    for row in rows:
        row["authors"], row["genres"] = json.loads(row["authors"]), json.loads(row["genres"])
        row["place"] = panel_place(Panel.of_text(row["panel"]), row["episode_no"])
    if body.format == "html":
        images = await page_thumbnails(service, opened, [row["picture_id"] for row in rows])
        left_out = len(asked) - len(rows)
        page = await run_in_threadpool(render_pictures, rows, images, title=body.name)
        response = Response(page.encode("utf-8", "replace"), media_type="text/html")
    else:
        file, written = await _folder(service, opened, rows)
        left_out = len(asked) - written
        response = StreamingResponse(_parts(file), media_type="application/zip")
    response.headers["Content-Disposition"] = f'attachment; filename="gallery.{body.format}"'
    response.headers["Left-Out"] = str(left_out)
    return response


async def _folder(
    service: Service, opened: OpenEngine, rows: Sequence[dict[str, Any]]
) -> tuple[IO[bytes], int]:
    """A zip file of the pictures with a list of them, and how many there are.

    Errors:  ApiError (404) when all of the files are gone
    """
    out, listed = tempfile.TemporaryFile(), io.StringIO()  # noqa: SIM115, closed when it was sent
    try:
        table = csv.writer(listed, lineterminator="\n")
        table.writerow(LIST_COLUMNS)
        count = 0
        with zipfile.ZipFile(out, "w") as archive:  # stored: WebP does not get smaller
            for row in rows:
                picture_id = row["picture_id"]
                try:
                    made = await service.thumbnails.get(opened, picture_id, SIDES_PX["large"])
                except ToonsearchError:
                    continue
                count += 1
                name = f"{count:03d} {_plain_name(row['title'])}.webp"
                await run_in_threadpool(partial(archive.writestr, name, made.data))
                authors, genres = (";".join(row[key]) for key in ("authors", "genres"))
                told = (row["title"], row["title_id"], genres, row["year"], row["url"], picture_id)
                table.writerow([name, authors, *told])
            archive.writestr("pictures.csv", listed.getvalue().encode("utf-8", "replace"))
        if not count:
            raise not_found("the files of these pictures are gone")
        out.seek(0)
    except BaseException:
        out.close()
        raise
    return out, count


def _plain_name(title: str) -> str:
    """Letters and digits of a title: a file's name on every system."""
    return re.sub(r"[^\w-]+", " ", title)[:60].strip() or "picture"


def _parts(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while part := file.read(CHUNK_BYTES):
            yield part
