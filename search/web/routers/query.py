"""Routes that answer a query: with pictures, with a style asked about before, with a picture
of the index."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from datetime import UTC, datetime
from math import isnan, nan
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response

from schemas.records import Answer
from search.engine import StyleQuery
from search.inputs import QueryPicture
from search.results import titles_holding
from search.web.db import Store
from search.web.dependencies import Service, Style, TheService
from search.web.engine_pool import OpenEngine
from search.web.errors import Refused, not_found
from search.web.exports import exported, with_id
from search.web.fetching import MAX_URL, fetch_picture
from search.web.models import QueryAnswer, Shared, errors
from search.web.requests import AskedPicture, QueryParameters, asked_pictures, checked_crop

router = APIRouter(prefix="/v1", tags=["query"])
Parameters = Annotated[QueryParameters, Depends()]
ANSWER: dict[int | str, dict[str, Any]] = {200: {"model": QueryAnswer}}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["picture"],
                    "properties": {
                        "picture": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        },
                        "crop": {"type": "array", "items": {"type": "string"}},
                    },
                }
            },
        },
    }
}


@router.post("/query", responses={**ANSWER, **errors(400, 408, 413, 415)}, openapi_extra=BODY)
async def query(
    request: Request,
    service: TheService,
    parameters: Parameters,
    crop: Annotated[
        str | None, Query(max_length=100, description="x,y,w,h in pixels or percent.")
    ] = None,
) -> Response:
    """Find the works drawn most like the pictures in the body, taken together."""
    started = time.perf_counter()
    asked = await asked_pictures(request, crop)
    return await answered(service, asked, parameters, started)


@router.get("/fetched", responses={**ANSWER, **errors(403, 415, 502)})
async def fetched(
    service: TheService,
    parameters: Parameters,
    url: Annotated[str, Query(max_length=MAX_URL, description="Address of a picture.")],
    crop: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Ask about a picture on the web, where the server is allowed to fetch it."""
    started = time.perf_counter()
    if service.settings.web.url_queries != "on":
        raise Refused(403, "off", "this server does not fetch pictures")
    data = await fetch_picture(url, service.settings.decode.max_bytes)
    name = url.partition("?")[0].rpartition("/")[2][:200] or "picture"
    asked = [AskedPicture(QueryPicture(name, data), checked_crop(crop))]
    return await answered(service, asked, parameters, started)


async def answered(
    service: Service, asked: list[AskedPicture], parameters: QueryParameters, started: float
) -> Response:
    """Decode, encode, search, remember."""
    async with service.engines.lease() as opened:
        engine = opened.engine
        spec = engine.encoder.pixel_spec
        prepared = await asyncio.gather(
            *(service.decoders.pixels(one.picture, one.crop, spec) for one in asked)
        )
        options = parameters.options(service.settings.query)

        def work() -> tuple[Answer, StyleQuery, tuple[str, ...]]:
            asks = engine.encode(prepared)
            ids = [picture.picture_id for picture in prepared]
            names = [picture.name for picture in prepared]
            found = engine.answer(asks, options, picture_ids=ids, names=names, started=started)
            return found, asks, _own(opened, prepared)

        answer, asks, own = await service.engines.run(work)
        style = Style(
            asks,
            engine.generation.model_id,
            engine.generation.preprocessing_digest,
            own,
            len(prepared),
        )
    return JSONResponse(with_id(service.remembered.keep(style), answer, options.by))


def _own(opened: OpenEngine, pictures: list[QueryPicture]) -> tuple[str, ...]:
    meta = opened.engine.generation.meta
    return tuple(p.picture_id for p in pictures if titles_holding(meta, [p.picture_id]))


async def style_of(service: Service, result_id: str) -> Style:
    """A style that was asked about before, lately or by a shared link.

    Errors:  Refused (404)
    """
    style = service.remembered.get(result_id)
    if style is None and SHARE_ID.fullmatch(result_id):
        style = await service.store.run(lambda: shared(service.store, result_id))
    if style is None:
        raise not_found("this result is no longer kept", "Ask with the picture again.")
    return style


@router.get("/results/{result_id}", responses={**ANSWER, **errors(404, 410)})
async def result(
    result_id: str,
    service: TheService,
    parameters: Parameters,
    format: Annotated[
        Literal["json", "csv", "html"] | None, Query(description="As a file to keep.")
    ] = None,
) -> Response:
    """Ask again about the same pictures, with other filters."""
    style = await style_of(service, result_id)
    options = parameters.options(service.settings.query)
    async with service.engines.lease() as opened:
        answer = await service.answer(opened, style, options, [])
        if format is not None:
            return await exported(service, opened, answer, options.by, format)
    return JSONResponse(with_id(result_id, answer, options.by))


@router.post(
    "/results/{result_id}/share",
    responses={200: {"model": Shared}, **errors(403, 404, 507)},
)
async def share_result(result_id: str, service: TheService) -> Response:
    """Make a link that can be opened later: it keeps the style, not the picture."""
    days = service.settings.web.share_days
    if days == 0:
        raise Refused(403, "off", "shared links are turned off on this server")
    style = await style_of(service, result_id)
    key, expires = await service.store.run(lambda: share(service.store, style, days))
    return JSONResponse(said(key, expires))


@router.get("/pictures/{picture_id}/similar", responses={**ANSWER, **errors(404)})
async def similar(picture_id: str, service: TheService, parameters: Parameters) -> Response:
    """Ask with a picture of the index, by its stored vector."""
    options = parameters.options(service.settings.query)
    async with service.engines.lease() as opened:
        rows = opened.engine.generation.meta.execute(
            "select min(row_id) from pictures where picture_id = ?", (picture_id,)
        ).fetchone()
        if rows[0] is None:
            raise not_found("the index holds no such picture")

        def work() -> Answer:
            style = opened.common_style(np.asarray(rows, np.int64))
            return opened.engine.answer(style, options, picture_ids=[picture_id])

        answer = await service.engines.run(work)
    return JSONResponse(with_id(None, answer, options.by))


# --- Links to a result that outlive the server's memory: vectors are kept, not the picture.

DAY_S = 86_400
SHARE_ID = re.compile(r"s-[A-Za-z0-9_-]{22}")


def share(store: Store, style: Style, days: int) -> tuple[str, float]:
    """Keep a style for some days; returns its id and when it expires (seconds since 1970).

    Expired ones are removed at the same time.
    """
    key, now = f"s-{secrets.token_urlsafe(16)}", time.time()
    expires = now + days * DAY_S
    with store.writing() as connection:
        connection.execute("delete from shares where expires < ?", (now,))
        connection.execute(
            "insert into shares values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                style.question.vector.astype("<f4").tobytes(),
                style.model_id,
                style.preprocessing,
                json.dumps(style.own),
                style.pictures_count,
                now,
                expires,
            ),
        )
        if not isnan(style.question.ood):
            connection.execute("insert into share_ood values (?, ?)", (key, style.question.ood))
    return key, expires


def shared(store: Store, key: str) -> Style | None:
    """The style behind a link; None when there is none, or no longer."""
    if not SHARE_ID.fullmatch(key):
        return None
    with store.reading() as connection:
        if connection is None:
            return None
        row = connection.execute(
            "select vector, ood, model_id, preprocessing, own, pictures_count"
            " from shares left join share_ood using (id)"
            " where id = ? and expires >= ?",
            (key, time.time()),
        ).fetchone()
    if row is None:
        return None
    vector, ood, model_id, preprocessing, own, count = row
    return Style(
        StyleQuery(_read(vector), nan if ood is None else ood),
        model_id,
        preprocessing,
        tuple(json.loads(own)),
        count,
    )


def _read(vector: bytes) -> np.ndarray:
    return np.frombuffer(vector, "<f4").astype(np.float32)


def said(key: str, expires: float) -> dict[str, Any]:
    """What the page is told of a new link."""
    moment = datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds")
    return {"id": key, "link": f"/?r={key}", "expires": moment}
