"""The application: the page's own files and every route, behind the guard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

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
    )
    app.state.service = service
    errors.install(app)
    for module in (query, catalog, images, map, auth, galleries, sql, ops):
        app.include_router(module.router)
    template = environment(HERE / "templates").get_template("index.html")
    text = template.render(summary=SUMMARY, scripts=FIRST_SCRIPTS)

    async def shell() -> HTMLResponse:
        return HTMLResponse(text)

    for path in PAGES:
        app.add_api_route(path, shell, methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/static", GZipMiddleware(StaticFiles(directory=STATIC)))
    app.add_middleware(Guard, settings=settings.web)
    app.add_middleware(Measure, metrics=service.metrics)
    return app
