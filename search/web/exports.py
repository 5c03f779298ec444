"""A result as a file: JSON, CSV, or the self-contained HTML gallery."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import Any

from starlette.responses import Response

from schemas.errors import ToonsearchError
from schemas.records import Answer, Hit
from search.output import data as render
from search.output.html import GallerySection, render_gallery
from search.output.thumbnails import Thumbnail
from search.web.dependencies import Service
from search.web.engine_pool import OpenEngine
from search.web.errors import Refused
from search.web.image_pool import SIDES_PX

NAME = "toonsearch"


async def exported(
    service: Service, opened: OpenEngine, answer: Answer, by: str, form: str
) -> Response:
    """The answer as a download."""
    if form == "json":
        body = json.dumps(render.body(answer, by, None), ensure_ascii=False, indent=2)
        return _file(body, "application/json", "json")
    if form == "csv":
        out = io.StringIO()
        render.write_answer(out, answer, by, None, "csv")
        return _file(out.getvalue(), "text/csv; charset=utf-8", "csv")
    section = GallerySection(answer, (), by=by)
    images = await _thumbnails(service, opened, answer, by)
    page = await service.engines.run(lambda: render_gallery([section], images))
    return _file(page, "text/html; charset=utf-8", "html")


def _file(text: str, media_type: str, extension: str) -> Response:
    name = f'attachment; filename="{NAME}.{extension}"'
    return Response(
        text.encode("utf-8", "replace"),
        media_type=media_type,
        headers={"Content-Disposition": name},
    )


async def _thumbnails(
    service: Service, opened: OpenEngine, answer: Answer, by: str
) -> dict[str, Thumbnail]:
    hits: list[Hit] = (
        list(answer.pictures)
        if by == "picture"
        else [hit for title in answer.titles for hit in title.hits]
    )
    files = {hit.file: hit.picture_id for hit in hits if hit.file is not None}
    side_px = SIDES_PX["medium" if len(files) <= 60 else "small"]

    async def one(picture_id: str) -> Thumbnail | None:
        try:
            small = await service.smalls.get(opened, picture_id, side_px)
        except (Refused, ToonsearchError):
            return None
        data = base64.standard_b64encode(small.data).decode("ascii")
        return Thumbnail(f"data:image/webp;base64,{data}", small.width_px, small.height_px)

    made = await asyncio.gather(*(one(picture_id) for picture_id in files.values()))
    return {file: thumb for file, thumb in zip(files, made, strict=True) if thumb is not None}


def with_id(result_id: str | None, answer: Answer, by: str) -> dict[str, Any]:
    """The answer's body with the id under which it can be asked again."""
    return {"id": result_id, **render.body(answer, by, None)}
