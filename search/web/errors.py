"""What goes wrong, as a status for programs and a sentence for people.

Every error is `{"error": "one sentence", "hint": "what to do", "code": "one word"}`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from schemas.errors import InputError, LockedError, NetworkError, NoIndexError, ToonsearchError
from schemas.images import PictureError, Reason
from schemas.storage.fsio import is_disk_full

LOG = logging.getLogger("toonsearch.web")


class Refused(HTTPException):
    """A request that is turned away, with a status of its own."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.code, self.message, self.hint = code, message, hint


def not_found(what: str, hint: str = "") -> Refused:
    """Something that the index or the store does not hold."""
    return Refused(404, "not_found", what, hint)


def error_response(
    status: int,
    code: str,
    message: str,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The one shape of an error."""
    body = {"error": _sentence(message), "hint": hint, "code": code}
    return JSONResponse(body, status, headers=dict(headers or {}))


def _sentence(message: str) -> str:
    text = message.encode("utf-8", "replace").decode("utf-8")[:500]
    if text.partition(" ")[0].rstrip(":").isalpha():  # not the name of a file
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith((".", "?", "!")) else ".")


STATUS_OF_REASON = {Reason.TOO_MANY_BYTES: 413, Reason.FORMAT: 415}


def response_of(error: Exception) -> JSONResponse:
    """The answer to a request that failed."""
    if isinstance(error, Refused):
        return error_response(
            error.status_code, error.code, error.message, error.hint, error.headers
        )
    if isinstance(error, HTTPException):
        code = {404: "not_found", 405: "method"}.get(error.status_code, "http")
        said = {404: "there is no such page", 405: "this address cannot be used that way"}
        return error_response(
            error.status_code, code, said.get(error.status_code, str(error.detail)), "",
            error.headers,
        )  # fmt: skip
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return error_response(422, "parameter", f"{place}: {first['msg']}")
    if isinstance(error, PictureError):
        status = STATUS_OF_REASON.get(error.reason, 422)
        return error_response(status, str(error.reason), error.message, error.hint)
    if isinstance(error, NoIndexError):
        retry = {"Retry-After": "10"}
        return error_response(503, "no_index", error.message, error.hint, retry)
    if isinstance(error, InputError):
        if is_disk_full(error) or "disk is full" in error.message:
            return error_response(507, "disk_full", error.message, error.hint)
        return error_response(422, "input", error.message, error.hint)
    if isinstance(error, LockedError):
        return error_response(503, "locked", error.message, error.hint, {"Retry-After": "5"})
    if isinstance(error, NetworkError):
        return error_response(502, "network", error.message, error.hint)
    if isinstance(error, ToonsearchError):
        return error_response(400, "refused", error.message, error.hint)
    return error_response(
        500, "bug", "something went wrong on our side", "It was written to the server's log."
    )


def install(app: FastAPI) -> None:
    """Give the application these answers."""

    async def handle(request: Request, error: Exception) -> Response:
        return response_of(error)

    async def unforeseen(request: Request, error: Exception) -> Response:
        LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return response_of(error)

    for kind in (HTTPException, RequestValidationError, ToonsearchError):
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(Exception, unforeseen)
