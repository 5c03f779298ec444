"""Routes that answer a query: pictures, an earlier query, or a picture of the index."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from indexer.vector_index.ranking import refined
from schemas.errors import InputError, ToonsearchError
from schemas.images import PictureError
from schemas.records import Answer
from search.batch import Looked, answers_to, common_rows, styles
from search.engine import QueryOptions, StyleQuery
from search.inputs import QueryPicture
from search.output import data as output
from search.output.html import GallerySection, Thumbnail, render_gallery
from search.results import titles_holding
from search.texts import query_by_text
from search.web.db import EncodedQuery
from search.web.dependencies import (
    MAX_PICTURES,
    ChosenPanels,
    EachPicture,
    Marks,
    Mix,
    Opened,
    Options,
    Pictures,
    RequestCrop,
    RequestCutting,
    RequestMarks,
    RequestMix,
    Service,
    ServiceDependency,
)
from search.web.engine_pool import OpenEngine
from search.web.errors import ApiError, error_body, not_found
from search.web.fetch import MAX_URL, fetch_picture
from search.web.image_pool import SIDES_PX
from search.web.models import BatchAnswer, BatchProblem, QueryAnswer, SharedLink, errors

router = APIRouter(prefix="/v1", tags=["query"])
PICTURE_FACTS = """
select p.picture_id, t.title_id, coalesce(nullif(t.name, ''), t.title_id) as title, t.authors,
  t.genres, coalesce(p.year, t.year) as year, t.url
from pictures p join titles t using (title_no) where p.row_id = ?
"""
BINARY = {"type": "string", "format": "binary"}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": BINARY},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["picture"],
                    "properties": {
                        "picture": {"type": "array", "items": BINARY, "maxItems": MAX_PICTURES},
                        "crop": {"type": "array", "items": {"type": "string"}},
                    },
                }
            },
        },
    }
}
PICTURES_AT_ONCE = 8
"""Of a batch: their pixels are in memory together."""
ANSWER: dict[str, Any] = {"response_model": QueryAnswer, "response_model_exclude_unset": True}


@router.post("/query", **ANSWER, responses=errors(400, 408, 413, 415), openapi_extra=BODY)
async def query(
    service: ServiceDependency,
    options: Options,
    pictures: Pictures,
    opened: Opened,
    cutting: RequestCutting,
    mix: RequestMix,
    chosen: ChosenPanels = [],  # noqa: B006
) -> dict[str, Any]:
    """Find the titles drawn most like the pictures in the body, taken together.

    Strips and pages are cut, and each panel asks. A picture that cannot be used is named in
    `refused` and in the notes, and the others answer.
    """
    started = time.perf_counter()
    engine = opened.engine
    seen = await service.decoders.see(pictures, engine.encoder.pixel_spec, cutting)
    failed = seen.refused if seen.pixels else {}
    used = [one for n, one in enumerate(pictures) if n not in failed]

    def work() -> dict[str, Any]:
        ids = [picture.picture_id for picture in used]
        names = [picture.name for picture in used]
        style = engine.encode_seen(replace(seen, refused={}) if failed else seen, len(pictures))
        answer = engine.answer(
            _mixed(opened, style.by_panels(chosen), mix),
            _without(opened, options, mix),
            picture_ids=[*ids, *mix.others],
            names=names,
            started=started,
        )
        own = tuple(one for one in ids if titles_holding(opened.meta, [one]))
        key = service.recent.add(_encoded(opened, style, own))
        return _body(key, answer, options, _asked(opened, style, mix))

    body = await run_in_threadpool(work)
    if failed:
        body["refused"] = [
            {"picture": n + 1, "name": pictures[n].name, **error_body(error, pictures[n].name)}
            for n, error in sorted(failed.items())
        ]
        body["query"]["notes"] += [
            f"not used: {one['name']}: {one['error']}" for one in body["refused"]
        ]
    return body


@router.post(
    "/query:batch",
    response_model=list[BatchAnswer | BatchProblem],
    response_model_exclude_unset=True,
    responses=errors(400, 408, 413, 415),
    openapi_extra=BODY,
)
async def query_batch(
    service: ServiceDependency,
    options: Options,
    pictures: EachPicture,
    opened: Opened,
    cutting: RequestCutting,
) -> list[dict[str, Any]]:
    """Ask about each picture in the body by itself: a list of the answers of `/v1/query`, in the
    order of the pictures.

    A picture that cannot be used has its `problem`, and the others answer. Each counts as a query.
    """
    engine = opened.engine
    rows = await run_in_threadpool(common_rows, engine, options)

    async def look(picture: QueryPicture) -> Looked | ToonsearchError:
        try:
            seen = await service.decoders.see([picture], engine.encoder.pixel_spec, cutting)
            seen.check()
        except InputError as error:
            return error
        return Looked(picture, picture.picture_id, seen)

    def work(looked: list[Looked]) -> list[dict[str, Any]]:
        bodies: list[dict[str, Any]] = []
        known = styles(engine.encoded, [one.seen for one in looked])
        found = answers_to(engine, looked, known, options, rows)
        for one, style, answer in zip(looked, known, found, strict=True):
            if isinstance(style, PictureError) or isinstance(answer, PictureError):
                bodies.append(_problem(one.picture, answer))
                continue
            ids = [one.picture_id]
            own = tuple(ids) if titles_holding(opened.meta, ids) else ()
            key = service.recent.add(_encoded(opened, style, own))
            asked = _asked(opened, style, Mix([], ()))
            body = _body(key, answer, options, asked)
            bodies.append({"name": one.picture.name, "problem": None, **body})
        return bodies

    answered: list[dict[str, Any]] = []
    for start in range(0, len(pictures), PICTURES_AT_ONCE):
        some = pictures[start : start + PICTURES_AT_ONCE]
        looked = await asyncio.gather(*map(look, some))
        good = [one for one in looked if isinstance(one, Looked)]
        bodies = iter(await run_in_threadpool(work, good))
        answered += [
            next(bodies) if isinstance(one, Looked) else _problem(picture, one)
            for picture, one in zip(some, looked, strict=True)
        ]
    return answered


def _problem(picture: QueryPicture, error: Any) -> dict[str, Any]:
    return {"name": picture.name, "problem": error_body(error, picture.name)}


def _encoded(opened: OpenEngine, style: StyleQuery, own: tuple[str, ...]) -> EncodedQuery:
    """A query as it is remembered; `own` are its pictures that the index holds."""
    generation = opened.generation
    return EncodedQuery(style, generation.model_id, generation.preprocessing_digest, own)


@router.get("/fetched", **ANSWER, responses=errors(403, 415, 502))
async def fetched(
    service: ServiceDependency,
    opened: Opened,
    options: Options,
    crop: RequestCrop,
    cutting: RequestCutting,
    url: Annotated[str, Query(max_length=MAX_URL, description="Address of a picture.")],
) -> dict[str, Any]:
    """Ask about a picture on the web, where the server is allowed to fetch it."""
    if service.settings.web.url_queries != "on":
        raise ApiError(403, "off", "this server does not fetch pictures")
    data = await fetch_picture(url, service.settings.web.max_bytes)
    name = url.partition("?")[0].rpartition("/")[2][:200] or "picture"
    mix = Mix([], ())
    return await query(service, options, [QueryPicture(name, data, crop)], opened, cutting, mix)


@router.get("/text", **ANSWER, responses=errors())
def by_words(opened: Opened, options: Options) -> dict[str, Any]:
    """Titles or pictures by the words of `text` alone: no style is compared. Where no name has
    them and the index knows what pictures show (a CLIP model), that is asked."""
    words = options.filters.text
    if not words:
        raise ApiError(422, "empty", "there is no text in the request", "Give ?text=.")
    filters = replace(options.filters, text=None)
    answer = query_by_text(opened.generation, words, k=options.k, by=options.by, filters=filters)
    return _body(None, answer, options, {"weights": [], "others": []})


@router.get("/results/{result_id}", **ANSWER, responses=errors(404, 410))
async def result(
    result_id: str,
    service: ServiceDependency,
    opened: Opened,
    options: Options,
    marks: RequestMarks,
    mix: RequestMix,
    chosen: ChosenPanels = [],  # noqa: B006
    format: Annotated[
        Literal["json", "csv", "html"] | None, Query(description="As a file.")
    ] = None,
) -> Any:
    """Ask again about the same pictures, with other filters or with some of their panels alone,
    refined by pictures that were marked.

    The labels stay those of the query itself: whoever marks an artist's pictures would only be
    told of that artist.
    """
    encoded = await usable_query(service, opened, result_id)

    def work() -> tuple[Answer, dict[str, Any]]:
        style = encoded.style.by_panels(chosen)
        wanted = _without(opened, options, mix)
        own = (*encoded.own, *mix.others)
        answer = _refined_answer(opened, _mixed(opened, style, mix), wanted, marks, own)
        return answer, _asked(opened, style, mix)

    answer, asked = await run_in_threadpool(work)
    if format is not None:
        return await _download(service, opened, answer, options.by, format)
    return _body(result_id, answer, options, asked)


@router.post(
    "/results/{result_id}/share", response_model=SharedLink, responses=errors(403, 404, 410, 507)
)
async def share_result(
    result_id: str,
    request: Request,
    service: ServiceDependency,
    opened: Opened,
    mix: RequestMix,
    chosen: ChosenPanels = [],  # noqa: B006
) -> dict[str, Any]:
    """Make a link that can be opened later: it keeps the vector, not the picture, and asks with
    these panels, other pictures and weights."""
    days = service.settings.web.share_days
    if days == 0:
        raise ApiError(403, "off", "shared links are turned off on this server")
    encoded = await usable_query(service, opened, result_id)
    style = await run_in_threadpool(_mixed, opened, encoded.style.by_panels(chosen), mix)
    encoded = replace(encoded, style=style, own=(*encoded.own, *mix.others))
    key, expires = await service.store.run(service.store.add_share, encoded, days)
    moment = datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds")
    return {"id": key, "link": f"{request.app.state.root_path}/?r={key}", "expires": moment}


@router.get("/pictures/{picture_id}/similar", **ANSWER, responses=errors(404))
def similar(
    picture_id: str,
    opened: Opened,
    options: Options,
    marks: RequestMarks,
    mix: RequestMix,
    service: ServiceDependency,
) -> dict[str, Any]:
    """Ask with a picture of the index, by its stored vector; refined by pictures that were marked."""
    row = opened.row_of(picture_id)
    if row is None:
        raise not_found("the index holds no such picture")
    style = opened.centroid(np.asarray([row], np.int64), subject=options.subject > 0)
    mixed = _mixed(opened, style, mix)
    wanted = _without(opened, options, mix)
    answer = _refined_answer(opened, mixed, wanted, marks, (picture_id, *mix.others))
    key = service.recent.add(_encoded(opened, style, (picture_id,)))
    body = _body(key, answer, options, _asked(opened, style, mix))
    return {**body, "picture": _facts(opened, row)}


def _facts(opened: OpenEngine, row: int) -> dict[str, Any]:
    """Whose a picture of the index is."""
    [facts] = opened.records(PICTURE_FACTS, row)
    return {**facts, **{name: json.loads(facts[name]) for name in ("authors", "genres")}}


def _asked(opened: OpenEngine, style: StyleQuery, mix: Mix) -> dict[str, Any]:
    """What was asked about, and how much each of it counts."""
    rows = [opened.row_of(picture_id) for picture_id in mix.others]
    others = [_facts(opened, row) for row in rows if row is not None]
    return {
        "weights": list(mix.weights) or [1.0] * (style.pictures_count + len(others)),
        "others": others,
    }


def _without(opened: OpenEngine, options: QueryOptions, mix: Mix) -> QueryOptions:
    """The titles of the pictures that are asked about as well do not answer: whoever names them
    knows them."""
    if not mix.others:
        return options
    titles = (*options.filters.exclude_titles, *titles_holding(opened.meta, mix.others))
    return replace(options, filters=replace(options.filters, exclude_titles=titles))


def _mixed(opened: OpenEngine, style: StyleQuery, mix: Mix) -> StyleQuery:
    """The query together with pictures of the index, each by its weight.

    Errors:  ApiError (404) when the index lacks one of them; InputError when weights do not fit
    """
    rows = [opened.row_of(picture_id) for picture_id in mix.others]
    if None in rows:
        raise not_found("the index holds no such picture")
    if not rows:
        return style.mixed(mix.weights)
    row_ids = np.asarray(rows, np.int64)
    known = None
    if style.subject is not None and opened.generation.subjects is not None:
        known = opened.generation.subjects.vectors(row_ids)
    return style.mixed(mix.weights, opened.generation.vectors(row_ids), known)


def _refined_answer(
    opened: OpenEngine,
    style: StyleQuery,
    options: QueryOptions,
    marks: Marks,
    picture_ids: Sequence[str],
) -> Answer:
    """The answer to a query moved by marks, with the labels of the query before it was moved."""
    engine = opened.engine
    liked, disliked = (_row_ids(opened, ids) for ids in marks)
    if not len(liked) and not len(disliked):
        return engine.answer(style, options, picture_ids=picture_ids)
    vectors = opened.generation.vectors
    moved = style._replace(vector=refined(style.vector, vectors(liked), vectors(disliked)))
    if options.subject and style.subject is not None and opened.generation.subjects is not None:
        known = opened.generation.subjects.vectors
        moved = moved._replace(subject=refined(style.subject, known(liked), known(disliked)))
    answer = engine.answer(moved, options, picture_ids=picture_ids)
    plain = replace(options, k=1, subject=0.0)
    labels = engine.answer(style, plain, picture_ids=picture_ids).labels
    return replace(answer, labels=labels)


def _row_ids(opened: OpenEngine, picture_ids: Sequence[str]) -> np.ndarray:
    """Row ids of pictures, each once; those that the index lost are left out."""
    rows = opened.meta.execute(
        "select min(row_id) from pictures where picture_id in (select value from json_each(?))"
        " group by picture_id",
        (json.dumps(picture_ids),),
    ).fetchall()
    return np.asarray([row[0] for row in rows], np.int64)


async def usable_query(service: Service, opened: OpenEngine, result_id: str) -> EncodedQuery:
    """A query that was asked before, of the model of this index.

    Errors:  ApiError (404, 410)
    """
    encoded = await _encoded_query(service, result_id)
    generation = opened.generation
    model = (generation.model_id, generation.preprocessing_digest)
    if (encoded.model_id, encoded.preprocessing) != model:
        message = "this result was made with another model"
        raise ApiError(410, "other_model", message, "Ask with the picture again.")
    return encoded


async def _encoded_query(service: Service, result_id: str) -> EncodedQuery:
    """A query that was asked before, lately or by a shared link.

    Errors:  ApiError (404)
    """
    found = service.recent.get(result_id)
    found = found or await service.store.run(service.store.share, result_id)
    if found is None:
        raise not_found("this result is no longer stored", "Ask with the picture again.")
    return found


def _body(
    result_id: str | None, answer: Answer, options: QueryOptions, asked: dict[str, Any]
) -> dict[str, Any]:
    """The answer's body with the id under which it can be asked again."""
    return {"id": result_id, **output.body(answer, options.by, None), **asked}


# --- A result as a file: JSON, CSV, or the self-contained HTML gallery.

MEDIA_TYPES = {"json": "application/json", "csv": "text/csv", "html": "text/html"}


async def _download(
    service: Service, opened: OpenEngine, answer: Answer, by: str, format: str
) -> Response:
    section = GallerySection(answer, (), by=by)
    if format == "html":
        ids = [hit.picture_id for hit in section.hits if hit.file is not None]
        images = await page_thumbnails(service, opened, ids)
        body = await run_in_threadpool(render_gallery, [section], images)
    else:
        out = io.StringIO()
        output.write_answer(out, answer, by, None, format)
        body = out.getvalue()
    return Response(
        body.encode("utf-8", "replace"),
        media_type=MEDIA_TYPES[format],
        headers={"Content-Disposition": f'attachment; filename="toonsearch.{format}"'},
    )


async def page_thumbnails(
    service: Service, opened: OpenEngine, picture_ids: Sequence[str]
) -> dict[str, Thumbnail]:
    """Thumbnails for a page that is one file, by picture id, made by the decoders."""
    ids = list(dict.fromkeys(picture_ids))
    side_px = SIDES_PX["medium" if len(ids) <= 60 else "small"]

    async def one(picture_id: str) -> Thumbnail | None:
        try:
            made = await service.thumbnails.get(opened, picture_id, side_px)
        except ToonsearchError:
            return None
        data = base64.standard_b64encode(made.data).decode("ascii")
        return Thumbnail(f"data:image/webp;base64,{data}", made.width_px, made.height_px)

    made = await asyncio.gather(*(one(picture_id) for picture_id in ids))
    return {one: found for one, found in zip(ids, made, strict=True) if found is not None}
