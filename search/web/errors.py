"""What goes wrong, as a status for programs and a sentence for people.

Every error is `{"error": "one sentence", "hint": "what to do", "code": "one word"}`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from schemas.errors import (
    InputError,
    LockedError,
    NetworkError,
    NoIndexError,
    StorageError,
    ToonsearchError,
    UsageError,
)
from schemas.images import PictureError, Reason
from schemas.settings import FIELDS
from schemas.storage.fsio import is_disk_full

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.responses import JSONResponse, Response

LOG = logging.getLogger("toonsearch.web")
STATUSES: tuple[tuple[type[ToonsearchError], int, str, dict[str, str]], ...] = (
    (NoIndexError, 503, "no_index", {"Retry-After": "10"}),
    (LockedError, 503, "locked", {"Retry-After": "5"}),
    (NetworkError, 502, "network", {}),
    (InputError, 422, "input", {}),
    (UsageError, 422, "parameter", {}),
    (ToonsearchError, 400, "refused", {}),
)
"""Status, code and headers of the program's own errors; the first that fits."""
DESCRIBED = "What may be asked is described in openapi.json."
VISITOR_HINTS = {
    "too_many_bytes": "Send a smaller copy.",
    "too_many_pixels": "Send a smaller copy, or a part of it.",
}
"""By code, in place of hints that name a setting."""


class ApiError(ToonsearchError):
    """A request that is refused, with a status of its own."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.status, self.code, self.headers = status, code, dict(headers or {})


def not_found(message: str, hint: str = "") -> ApiError:
    """Something that the index or the store does not hold."""
    return ApiError(404, "not_found", message, hint)


def install(app: FastAPI) -> None:
    """Give the application these answers."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def answer(request: Request, error: Exception) -> Response:
        found = _api_error(error)
        if found.code == "bug":
            LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return error_response(found)

    for kind in (HTTPException, RequestValidationError, ToonsearchError, Exception):
        app.add_exception_handler(kind, answer)


def error_response(error: ApiError) -> JSONResponse:
    """The answer to a request that failed."""
    from starlette.responses import JSONResponse

    return JSONResponse(error_body(error), error.status, headers=error.headers)


def error_body(error: Exception, name: str = "") -> dict[str, str]:
    """What is said of an error; `name`, of a picture that it is about, is left out of it."""
    found = _api_error(error)
    sentence = _sentence(found.message.removeprefix(f"{name}: "))
    return {"error": sentence, "hint": found.hint, "code": found.code}


def _api_error(error: Exception) -> ApiError:
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        code, message, hint = {
            404: ("not_found", "there is no such page", "Start from the first page."),
            405: ("method", "this address cannot be used that way", DESCRIBED),
        }.get(error.status_code, ("http", str(error.detail), ""))
        return ApiError(error.status_code, code, message, hint, error.headers)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return ApiError(422, "parameter", f"{place}: {first['msg']}", DESCRIBED)
    if not isinstance(error, ToonsearchError):
        hint = "It was written to the server's log."
        return ApiError(500, "bug", "something went wrong on our side", hint)
    if isinstance(error, StorageError) and not is_disk_full(error):
        LOG.error("%s", error)
        message = "the server cannot read or write its data"
        return ApiError(503, "store", message, "Try again later.")
    _, status, code, headers = next(one for one in STATUSES if isinstance(error, one[0]))
    if isinstance(error, PictureError):
        code = str(error.reason)
        status = {Reason.TOO_MANY_BYTES: 413, Reason.FORMAT: 415}.get(error.reason, status)
    elif isinstance(error, InputError) and is_disk_full(error):
        status, code = 507, "disk_full"
    hint = error.hint
    if any(setting in hint for setting in FIELDS):  # for whoever runs the server
        hint = VISITOR_HINTS.get(code, "")
    return ApiError(status, code, error.message, hint, headers)


def _sentence(message: str) -> str:
    text = message.encode("utf-8", "replace").decode("utf-8")[:500]
    if text.partition(" ")[0].rstrip(":").isalpha():  # not the name of a file
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith((".", "?", "!")) else ".")
