"""What a request asks: filters from its parameters, pictures from its body."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, TypeVar

from fastapi import Query, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from schemas.errors import UsageError
from schemas.settings import QuerySettings
from search.engine import QueryOptions
from search.filters import MAX_CHARACTERS, Filters
from search.inputs import Crop, QueryPicture
from search.web.errors import Refused

MAX_PICTURES = 8
MAX_K = 200
MAX_NAME = 200
MAX_FIELD_BYTES = 200
T = TypeVar("T")
Words = Annotated[list[Annotated[str, Query(max_length=400)]], Query(max_length=50)]


@dataclass(frozen=True)
class AskedPicture:
    """A picture as it came, and the part of it that is asked about."""

    picture: QueryPicture
    crop: str | None = None


class QueryParameters:
    """The filters of a query; the same names everywhere."""

    def __init__(
        self,
        k: Annotated[int | None, Query(ge=1, le=MAX_K, description="How many results.")] = None,
        by: Annotated[
            Literal["title", "picture"] | None, Query(description="What to list.")
        ] = None,
        where: Annotated[
            str | None, Query(max_length=MAX_CHARACTERS, description="An SQL condition.")
        ] = None,
        genre: Annotated[Words, Query(description="Any of these genres.")] = [],  # noqa: B006
        platform: Annotated[Words, Query(description="Any of these platforms.")] = [],  # noqa: B006
        year_from: Annotated[int | None, Query(ge=-9999, le=9999)] = None,
        year_to: Annotated[int | None, Query(ge=-9999, le=9999)] = None,
        exclude_author: Annotated[Words, Query(description="Leave out these authors.")] = [],  # noqa: B006
        exclude_title: Annotated[Words, Query(description="Leave out an id or name.")] = [],  # noqa: B006
        exclude_same_author: Annotated[bool, Query(description="Who else draws so?")] = False,
        min_percentile: Annotated[float | None, Query(ge=0, le=100)] = None,
        unknown_prior: Annotated[
            float | None, Query(ge=0, le=0.99, description="How often a hand is unknown.")
        ] = None,
    ) -> None:
        self.k, self.by = k, by
        self.unknown_prior = unknown_prior
        self.filters = partial(
            Filters.from_params,
            where=where,
            genre=genre,
            platform=platform,
            year_from=year_from,
            year_to=year_to,
            exclude_author=exclude_author,
            exclude_same_author=exclude_same_author,
            exclude_title=exclude_title,
            min_percentile=min_percentile,
        )

    def options(self, settings: QuerySettings) -> QueryOptions:
        """The same options as the command line would build."""

        return QueryOptions(
            k=_chosen(self.k, min(settings.k, MAX_K)),
            by=_chosen(self.by, settings.by),
            neighbours=settings.neighbours,
            unknown_prior=_chosen(self.unknown_prior, settings.unknown_prior),
            filters=self.filters(settings),
            expand=settings.expand,
        )


def _chosen(value: T | None, default: T) -> T:
    return default if value is None else value


async def asked_pictures(request: Request, crop: str | None) -> list[AskedPicture]:
    """The pictures of a body: raw bytes, or the file parts of multipart/form-data.

    In a form, the n-th `crop` field belongs to the n-th picture; an empty one means all of it.

    Errors:  Refused when the body is no picture or form; UsageError for a crop
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        asked = await _form(request)
    elif kind.startswith("image/") or kind in ("", "application/octet-stream"):
        asked = [AskedPicture(QueryPicture("picture", await request.body()), checked_crop(crop))]
    else:
        raise Refused(
            415, "format", f"a body of type {kind[:80]!r} cannot be read",
            "Send the picture itself, or multipart/form-data.",
        )  # fmt: skip
    if not asked or not any(one.picture.data for one in asked):
        raise Refused(422, "empty", "there is no picture in the request")
    return asked


async def _form(request: Request) -> list[AskedPicture]:
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=MAX_PICTURES,
        max_fields=MAX_PICTURES,
        max_part_size=MAX_FIELD_BYTES,
    )
    parser.spool_max_size = 1 << 40  # the body is capped already: nothing goes to disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refused(
            400, "form", f"the form cannot be read ({error.message})",
            f"At most {MAX_PICTURES} pictures make one query.",
        ) from error  # fmt: skip
    except (KeyError, ValueError) as error:  # a boundary that is missing or no text
        raise Refused(400, "form", "the form cannot be read") from error
    try:
        files = [part for part in form.getlist("picture") if isinstance(part, UploadFile)]
        crops = [str(text) for text in form.getlist("crop")]
        return [
            AskedPicture(
                QueryPicture(_name(file.filename), await file.read()),
                checked_crop(crops[n] if n < len(crops) else None),
            )
            for n, file in enumerate(files)
        ]
    finally:
        await form.close()


def _name(filename: str | None) -> str:
    """The last part of a file name, as text that can be shown."""
    last = re.split(r"[/\\]", filename or "")[-1]
    shown = "".join(c for c in last if c.isprintable())
    return shown.encode("utf-8", "replace").decode("utf-8")[:MAX_NAME] or "picture"


def checked_crop(text: str | None) -> str | None:
    """A crop that can be read, None for the whole picture."""
    if not text:
        return None
    try:
        Crop.parse(text)
    except UsageError as error:
        raise Refused(422, "crop", error.message.removeprefix("--"), error.hint) from error
    return text
