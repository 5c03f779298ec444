"""The application: the page's own files and every route, behind the guard."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from schemas.errors import UsageError
from schemas.settings import Settings
from search.cli.app import VERSION
from search.output.html import environment
from search.web import errors
from search.web.dependencies import Service
from search.web.middleware import Entrance, Guard, Measure
from search.web.routers import auth, catalog, galleries, map, ops, query, sql, why

HERE = Path(__file__).parent
STATIC = HERE / "static"
PAGES = ("/", "/title", "/author", "/browse", "/map", "/galleries", "/gallery", "/account", "/docs")
"""Addresses that the HTML shell answers; its script draws what belongs there."""
FIRST_SCRIPTS = ("dom.js", "strings.js", "api.js", "ask.js", "home.js", "given.js")
SUMMARY = "Find the titles drawn in the most similar style."
DESCRIPTION = (
    "Given a picture, find the titles drawn in the most similar style, and say which artist it"
    " looks like. Errors are JSON: `error` is one sentence, `hint` says what to do, `code` is"
    " for programs."
)


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application over one data root.

    Errors:  UsageError when web.root_path cannot be a path
    """
    root_path = _root_path(settings.web.root_path)
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
        docs_url=None,  # FastAPI's page loads scripts from elsewhere; ours is static/docs.js
        redoc_url=None,
        redirect_slashes=False,  # it would name an address that a proxy may have changed
        servers=[{"url": root_path}] if root_path else None,
    )
    app.state.service, app.state.root_path = service, root_path
    errors.install(app)
    for module in (query, why, catalog, map, auth, galleries, sql, ops):
        app.include_router(module.router)
    template = environment(HERE / "templates").get_template("index.html")
    text = template.render(
        summary=SUMMARY, scripts=FIRST_SCRIPTS, root=f"{root_path}/" if root_path else ""
    )

    async def shell() -> HTMLResponse:
        return HTMLResponse(text)

    async def without_slash(request: Request) -> RedirectResponse:
        """Relative, so that it holds under any path of a proxy."""
        page = request.scope["path"].strip("/")
        return RedirectResponse(f"../{page}?{request.url.query}".rstrip("?"))

    for path in PAGES:
        app.add_api_route(path, shell, include_in_schema=False)
        if path != "/":
            app.add_api_route(f"{path}/", without_slash, include_in_schema=False)
    app.mount("/static", GZipMiddleware(StaticFiles(directory=STATIC)))
    app.add_middleware(Guard, settings=settings.web)
    app.add_middleware(Measure, metrics=service.metrics)
    app.add_middleware(Entrance, root_path=root_path)
    return app


def _root_path(text: str) -> str:
    """A sub-path as `/toon`, empty for none.

    Errors:  UsageError
    """
    parts = [part for part in text.split("/") if part]
    example = "Give a path such as /toon."
    if not all(re.fullmatch(r"[\w~-][\w.~-]*", part, re.ASCII) for part in parts):
        raise UsageError(f"web.root_path {text!r} is not a path", example)
    own = {*(page.strip("/") for page in PAGES), "static", "v1"}
    if parts and parts[0] in own:  # a proxy that takes it off would send what looks like it
        raise UsageError(f"web.root_path may not begin with /{parts[0]}", example)
    return "".join(f"/{part}" for part in parts)
