"""The application: the page's own files and every route, behind the guard."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from schemas.settings import Settings
from search.cli.app import VERSION
from search.output.html import environment
from search.web import errors
from search.web.dependencies import Service
from search.web.middleware import Guard, Measure
from search.web.routers import auth, catalog, galleries, images, map, ops, query, sql

HERE = Path(__file__).parent
STATIC = HERE / "static"
PAGES = ("/", "/title", "/author", "/browse", "/map", "/galleries", "/gallery", "/account")
"""Addresses that the HTML shell answers; its script draws what belongs there."""
FIRST_SCRIPTS = ("dom.js", "strings.js", "api.js", "ask.js", "results.js", "works.js")
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
SUMMARY = "Find the titles drawn in the most similar style."
DESCRIPTION = (
    "Given a picture, find the titles drawn in the most similar style, and say which artist it"
    " looks like. Errors are JSON: `error` is one sentence, `hint` says what to do, `code` is"
    " for programs."
)


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application over one data root."""
    service = Service(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await service.start()
            yield
        finally:
            await service.close()

    app = FastAPI(
        title="toonsearch",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.service = service
    errors.install(app)
    for module in (query, catalog, images, map, auth, galleries, sql, ops):
        app.include_router(module.router)
    app.include_router(page_routes())
    app.add_middleware(Guard, settings=settings.web)
    app.add_middleware(Measure, metrics=service.metrics)
    return app


# --- The page's files are read once; a request names one of them, never a path.


@dataclass(frozen=True)
class Asset:
    """A file as it is sent."""

    data: bytes
    packed: bytes
    etag: str
    media_type: str

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Asset:
        etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        return cls(data, gzip.compress(data, 6, mtime=0), etag, media_type)


def load_assets() -> Mapping[str, Asset]:
    """All files of the page by name."""
    return {
        path.name: Asset.of(path.read_bytes(), TYPES[path.suffix])
        for path in sorted(STATIC.iterdir())
        if path.suffix in TYPES
    }


def load_shell() -> Asset:
    """The HTML that every page starts from."""
    template = environment(HERE / "templates").get_template("index.html")
    text = template.render(summary=SUMMARY, scripts=FIRST_SCRIPTS)
    return Asset.of(text.encode(), "text/html")


def page_routes() -> APIRouter:
    """Routes of the shell and its files."""
    assets, page = load_assets(), load_shell()
    router = APIRouter(include_in_schema=False)

    async def shell(request: Request) -> Response:
        return _sent(request, page)

    async def static(request: Request, name: str) -> Response:
        if name not in assets:
            raise errors.not_found("there is no such file")
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
