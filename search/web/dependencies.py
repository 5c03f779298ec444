"""What routes are given: the parts of the server, and what a request asks for."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Annotated, Literal, NamedTuple, TypeVar

from fastapi import Cookie, Depends, Query, Request
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from schemas.errors import UsageError
from schemas.settings import Settings
from search.engine import QueryOptions
from search.filters import MAX_CHARACTERS, Filters
from search.inputs import Crop, QueryPicture, parse_weights
from search.panels import MOST_ASKED, Cutting
from search.sql.sandbox import Sandbox, SandboxLimits
from search.web.colors import PictureColors
from search.web.db import Account, EncodedQuery, Store
from search.web.engine_pool import EnginePool, OpenEngine
from search.web.errors import ApiError
from search.web.image_pool import DecoderPool, ThumbnailCache
from search.web.middleware import Metrics

Read = TypeVar("Read")
COOKIE = "toonsearch_session"
MAX_RECENT = 4096
MAX_RECENT_PANELS = 20_000
MAX_PANELS = 48
"""That ask for a visitor: each takes the network as long as a picture."""
MAX_PICTURES = 64
"""Of a request: the slices of an episode."""
PICTURES_A_QUERY = 8
"""Pictures that are asked about together for the price of one query."""
MAX_K = 200
MAX_MARKED = 40
MAX_NAME = 200
MAX_FIELD_BYTES = 200
SQL_LIMITS = SandboxLimits(
    seconds=2.0, memory_bytes=256 * 1024 * 1024, rows=2000, result_bytes=2 * 1024 * 1024, threads=1
)


class RecentQueries:
    """The newest queries in memory, under ids that nobody can guess, to be repeated with other
    filters. A link that is to live longer is a share (`search/web/db.py`)."""

    def __init__(self) -> None:
        self._queries: OrderedDict[str, EncodedQuery] = OrderedDict()
        self._panels_count = 0

    def add(self, query: EncodedQuery) -> str:
        """Add a query; returns its id."""
        key = secrets.token_urlsafe(16)
        self._queries[key] = query
        self._panels_count += _panels_count(query)
        while len(self._queries) > MAX_RECENT or self._panels_count > MAX_RECENT_PANELS:
            _, oldest = self._queries.popitem(last=False)
            self._panels_count -= _panels_count(oldest)
        return key

    def get(self, key: str) -> EncodedQuery | None:
        """The query of an id, while it is in memory."""
        if key in self._queries:
            self._queries.move_to_end(key)
        return self._queries.get(key)


def _panels_count(query: EncodedQuery) -> int:
    panels = query.style.panels
    return 0 if panels is None else len(panels.panels)


class Service:
    """One server's parts; `request.app.state.service` in every route."""

    def __init__(self, settings: Settings) -> None:
        cores = len(os.sched_getaffinity(0))
        self.settings = settings
        self.engines = EnginePool(settings)
        self.decoders = DecoderPool(max(2, min(cores, 4)), settings.decode.limits)
        self.thumbnails = ThumbnailCache(settings.layout, self.decoders)
        self.metrics = Metrics(self.engines, self.decoders)
        self.colors = PictureColors(settings.layout)
        self.recent = RecentQueries()
        self.why_turn = asyncio.Semaphore(1)
        self.store = Store(settings.layout.web)
        self.sandbox = Sandbox(settings.layout, SQL_LIMITS) if settings.web.sql == "on" else None

    async def start(self) -> None:
        """Open the index and start the decoders."""
        await self.decoders.start()
        await self.engines.start()

    async def close(self) -> None:
        """Let go of everything."""
        await self.engines.close()
        await self.decoders.close()
        self.store.close()
        if self.sandbox is not None:
            await asyncio.to_thread(self.sandbox.close)


async def get_service(request: Request) -> Service:
    """The server's parts behind a request."""
    service: Service = request.app.state.service
    return service


ServiceDependency = Annotated[Service, Depends(get_service)]


async def get_engine(service: ServiceDependency) -> AsyncIterator[OpenEngine]:
    """The engine that answers now, leased until the request is answered.

    Errors:  NoIndexError while there is none
    """
    async with service.engines.lease() as opened:
        yield opened


Opened = Annotated[OpenEngine, Depends(get_engine)]


async def check_accounts(service: ServiceDependency) -> None:
    """Refuse when this server has no accounts.

    Errors:  ApiError (403)
    """
    if service.settings.web.accounts == "off":
        raise ApiError(403, "off", "this server keeps no accounts")


AccountsOffered = Depends(check_accounts)


Secret = Annotated[str | None, Cookie(alias=COOKIE, include_in_schema=False)]


async def get_visitor(
    service: ServiceDependency, _: Annotated[None, AccountsOffered], secret: Secret = None
) -> Account | None:
    """Who is signed in, None for nobody."""
    return await service.store.run(service.store.account_of, secret)


Visitor = Annotated[Account | None, Depends(get_visitor)]


async def get_owner(visitor: Visitor) -> Account:
    """Who is signed in.

    Errors:  ApiError (401) when nobody is
    """
    if visitor is None:
        raise ApiError(401, "sign_in", "you need to sign in first")
    return visitor


Owner = Annotated[Account, Depends(get_owner)]


# --- What a query asks: filters from its parameters, pictures from its body.

Names = Annotated[list[Annotated[str, Query(max_length=400)]], Query(max_length=50)]
Year = Annotated[int | None, Query(ge=-9999, le=9999)]


async def get_options(
    service: ServiceDependency,
    k: Annotated[int | None, Query(ge=1, le=MAX_K, description="How many results.")] = None,
    by: Annotated[Literal["title", "picture"] | None, Query(description="What to list.")] = None,
    where: Annotated[
        str | None, Query(max_length=MAX_CHARACTERS, description="An SQL condition.")
    ] = None,
    genre: Annotated[Names, Query(description="Any of these genres.")] = [],  # noqa: B006
    platform: Annotated[Names, Query(description="Any of these platforms.")] = [],  # noqa: B006
    year_from: Year = None,
    year_to: Year = None,
    exclude_author: Annotated[Names, Query(description="Leave out these authors.")] = [],  # noqa: B006
    exclude_title: Annotated[Names, Query(description="Leave out an id or name.")] = [],  # noqa: B006
    exclude_same_author: Annotated[
        bool, Query(description="Leave out the artist of the query.")
    ] = False,
    min_percentile: Annotated[
        float | None,
        Query(ge=0, le=100, description="Nearer than this share of pairs by different authors."),
    ] = None,
    palette: Annotated[
        str | None,
        Query(max_length=MAX_NAME, description="Only with these colours: #1b2a49,gold."),
    ] = None,
    text: Annotated[
        str | None,
        Query(max_length=MAX_NAME, description="Words of title, author, tag, genre or file name."),
    ] = None,
    subject: Annotated[
        float,
        Query(ge=0, le=1, description="How much what is shown counts besides style: 0 to 1."),
    ] = 0.0,
    unknown_prior: Annotated[
        float | None, Query(ge=0, le=0.99, description="How often an artist is unknown.")
    ] = None,
) -> QueryOptions:
    """The same options as the command line would build."""
    settings = service.settings.query
    filters = Filters(
        where=where,
        genres=tuple(genre),
        platforms=tuple(platform),
        year_from=year_from,
        year_to=year_to,
        exclude_authors=tuple(exclude_author),
        exclude_same_author=exclude_same_author,
        exclude_titles=tuple(exclude_title),
        min_percentile=settings.min_percentile if min_percentile is None else min_percentile,
        text=text,
    )
    if palette:
        only = await run_in_threadpool(service.colors.holders, palette)
        filters = replace(filters, pictures=only)
    return replace(
        QueryOptions.of(settings, filters),
        k=k or min(settings.k, MAX_K),
        by=by or settings.by,
        unknown_prior=settings.unknown_prior if unknown_prior is None else unknown_prior,
        subject=subject,
    )


Options = Annotated[QueryOptions, Depends(get_options)]


Marked = Annotated[list[Annotated[str, Query(max_length=64)]], Query(max_length=MAX_MARKED)]


class Marks(NamedTuple):
    """Pictures of the index by which a visitor refines a query."""

    liked: list[str]
    disliked: list[str]


async def get_marks(
    liked: Annotated[Marked, Query(description="More like these pictures.")] = [],  # noqa: B006
    disliked: Annotated[Marked, Query(description="Less like these.")] = [],  # noqa: B006
) -> Marks:
    """The marks of a request."""
    return Marks(liked, disliked)


RequestMarks = Annotated[Marks, Depends(get_marks)]


def _parsed(read: Callable[[str], Read], text: str, code: str) -> Read:
    """A parameter, read as the option of that name is. Errors:  ApiError (422)"""
    try:
        return read(text)
    except UsageError as error:
        raise ApiError(422, code, error.message.removeprefix("--"), error.hint) from error


class Mix(NamedTuple):
    """Pictures of the index that are asked about as well, and how much each picture counts."""

    others: list[str]
    weights: tuple[float, ...]


async def get_mix(
    others: Annotated[
        list[Annotated[str, Query(max_length=64)]],
        Query(
            alias="with",
            max_length=MAX_PICTURES,
            description="Ask about these pictures of the index as well, and leave out their titles.",
        ),
    ] = [],  # noqa: B006
    weights: Annotated[
        str | None,
        Query(
            max_length=16 * MAX_PICTURES,
            description="How much each picture counts, those of `with` last; 2,1: the first twice.",
        ),
    ] = None,
) -> Mix:
    """What is asked about besides the pictures of a request. Errors:  ApiError (422)"""
    return Mix(others, () if weights is None else _parsed(parse_weights, weights, "weights"))


RequestMix = Annotated[Mix, Depends(get_mix)]


def parse_crop(text: str | None) -> Crop | None:
    """A crop as it was sent, None for the whole picture. Errors:  ApiError (422)"""
    return _parsed(Crop.parse, text, "crop") if text else None


async def get_crop(
    crop: Annotated[
        str | None, Query(max_length=100, description="x,y,w,h in pixels or percent.")
    ] = None,
) -> Crop | None:
    """The crop of a request."""
    return parse_crop(crop)


RequestCrop = Annotated[Crop | None, Depends(get_crop)]


async def get_cutting(
    panels: Annotated[
        str, Query(max_length=20, description="auto, off, or how many panels ask at most.")
    ] = "auto",
) -> Cutting:
    """Which pictures of a request are cut. Errors:  ApiError (422)"""
    cutting = _parsed(Cutting.parse, panels, "parameter")
    if cutting.most > MAX_PANELS:
        raise ApiError(422, "parameter", f"at most {MAX_PANELS} panels ask", "Ask for fewer.")
    return cutting


RequestCutting = Annotated[Cutting, Depends(get_cutting)]

ChosenPanels = Annotated[
    list[Annotated[int, Query(ge=1, le=1_000_000)]],
    Query(alias="panel", max_length=MOST_ASKED, description="Only these panels ask."),
]


NAME_HINT = "Name the part picture, with a filename, as in curl -F picture=@a.png."
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")
"""How files of the formats begin that can be read."""


async def get_pictures(request: Request, crop: RequestCrop) -> list[QueryPicture]:
    """The pictures of a body: raw bytes, or the file parts of multipart/form-data.

    In a form, the n-th `crop` field belongs to the n-th picture; an empty one means all of it.

    Errors:  ApiError when the body is no picture or form, a crop cannot be read, or they are more
             than this client may ask about now
    """
    pictures = await _body_pictures(request, crop)
    charge(request, (len(pictures) - 1) // PICTURES_A_QUERY)
    return pictures


async def get_each(request: Request, crop: RequestCrop) -> list[QueryPicture]:
    """The same, where each picture is a query by itself, and counts as one."""
    pictures = await _body_pictures(request, crop)
    charge(request, len(pictures) - 1)
    return pictures


def charge(request: Request, price: float) -> None:
    """Take what a request costs beyond its path's price (`search/web/middleware.py`).

    Errors:  ApiError (429)
    """
    if price > 0:
        request.scope["charge"](price)


async def _body_pictures(request: Request, crop: Crop | None) -> list[QueryPicture]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        pictures = await _form_pictures(request)
    else:
        data = await request.body()
        is_named = kind.startswith("image/") or kind in ("", "application/octet-stream")
        if data and not is_named and not data.startswith(SIGNATURES):
            raise ApiError(
                415,
                "format",
                f"a body of type {kind[:80]!r} cannot be read",
                "Send the picture itself, or multipart/form-data.",
            )
        pictures = [QueryPicture("picture", data, crop)]
    if not any(picture.data for picture in pictures):
        raise ApiError(422, "empty", "there is no picture in the request", NAME_HINT)
    return pictures


Pictures = Annotated[list[QueryPicture], Depends(get_pictures)]
EachPicture = Annotated[list[QueryPicture], Depends(get_each)]


class _FormParser(MultiPartParser):
    """Takes a part for a file, also without a file name, where its name or type says so."""

    def on_headers_finished(self) -> None:
        part = self._current_part
        _, options = parse_options_header(part.content_disposition)
        kind = dict(part.item_headers).get(b"content-type", b"").strip().lower()
        is_file = (
            options.get(b"name") == b"picture"
            or kind.startswith((b"image/", b"application/octet-stream"))
            or b"filename*=" in (part.content_disposition or b"")
        )
        if is_file and b"filename" not in options:
            part.content_disposition = (part.content_disposition or b"") + b'; filename=""'
        super().on_headers_finished()


async def _form_pictures(request: Request) -> list[QueryPicture]:
    parser = _FormParser(
        request.headers,
        request.stream(),
        max_files=MAX_PICTURES,
        max_fields=MAX_PICTURES,
        max_part_size=MAX_FIELD_BYTES,
    )
    parser.spool_max_size = 1 << 40  # the body is capped already: nothing goes to disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:  # or a boundary that is no text
        why = f" ({error.message.rstrip('.')})" if isinstance(error, MultiPartException) else ""
        hint = NAME_HINT
        if "exceeded maximum size" in why:
            why = f" (a part without a filename has more than {MAX_FIELD_BYTES} bytes)"
        elif "Too many" in why:
            hint = f"At most {MAX_PICTURES} pictures are taken at a time."
        raise ApiError(400, "form", f"the form cannot be read{why}", hint) from error
    try:
        parts = [(name, part) for name, part in form.multi_items() if isinstance(part, UploadFile)]
        found = [(name, part.filename, await part.read()) for name, part in parts]
        crops = [str(text) for text in form.getlist("crop")]
    finally:
        await form.close()
    named = [one for one in found if one[0] == "picture"]
    others = [one for one in found if one[0] != "picture" and one[2].startswith(SIGNATURES)]
    if others and (named or len(others) > 1):
        message = f"the form holds a picture in a part named {others[0][0][:80]!r}"
        raise ApiError(422, "form", message, NAME_HINT)
    asked = named or others
    crops += [""] * len(asked)
    return [
        QueryPicture(_file_name(name), data, parse_crop(crop))
        for (_, name, data), crop in zip(asked, crops, strict=False)
        if data or name
    ]


def _file_name(filename: str | None) -> str:
    """The last part of a file name, as text that can be shown."""
    last = re.split(r"[/\\]", filename or "")[-1]
    printable = "".join(c for c in last if c.isprintable())
    return printable.encode("utf-8", "replace").decode("utf-8")[:MAX_NAME] or "picture"
