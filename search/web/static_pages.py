"""The page itself: one HTML shell and the files beside it, read once at the start.

Only names that were found in the folder are served, so a request cannot name another file.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from search.web.errors import not_found

STATIC = Path(__file__).parent / "static"
SHELL = "index.html"
PAGES = ("/", "/title", "/author", "/browse", "/map", "/galleries", "/gallery", "/account")
"""Addresses that the shell answers; its script draws what belongs there."""
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Asset:
    """A file as it is sent."""

    data: bytes
    packed: bytes
    etag: str
    media_type: str


def load_assets(folder: Path = STATIC) -> Mapping[str, Asset]:
    """All files of the page by name."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_file():
            data = path.read_bytes()
            kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
            found[path.name] = Asset(
                data,
                gzip.compress(data, 6, mtime=0),
                f'"{hashlib.sha256(data).hexdigest()[:32]}"',
                kind,
            )
    return found


def page_routes() -> APIRouter:
    """Routes of the shell and its files."""
    assets = load_assets()
    router = APIRouter(include_in_schema=False)

    async def shell(request: Request) -> Response:
        return _sent(request, assets[SHELL])

    async def static(request: Request, name: str) -> Response:
        if name not in assets or name == SHELL:
            raise not_found("there is no such file")
        return _sent(request, assets[name])

    for path in PAGES:
        router.add_api_route(path, shell, methods=["GET", "HEAD"])
    router.add_api_route("/static/{name}", static, methods=["GET", "HEAD"])
    return router


def _sent(request: Request, asset: Asset) -> Response:
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(asset.packed, media_type=asset.media_type, headers=headers)
    return Response(asset.data, media_type=asset.media_type, headers=headers)
