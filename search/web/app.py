"""The application: every route behind the guard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from schemas.settings import Settings
from search.cli.app import VERSION
from search.web import errors
from search.web.dependencies import Service
from search.web.middleware import Guard, Measure
from search.web.routers import auth as sessions
from search.web.routers import catalog as colours
from search.web.routers import catalog as works
from search.web.routers import galleries as saved
from search.web.routers import images as pictures
from search.web.routers import map as maps
from search.web.routers import ops as health
from search.web.routers import query as queries
from search.web.routers import sql as statements
from search.web.static_pages import page_routes

DESCRIPTION = (
    "Given a picture, find the works drawn in the most similar style, and say whose hand it"
    " looks like. Errors are JSON: `error` is one sentence, `hint` says what to do, `code` is"
    " for programs."
)


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application over one data root."""
    service = Service.create(settings)

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
    rooms = (queries, works, pictures, colours, maps, sessions, saved, statements, health)
    for router in (*(room.router for room in rooms), page_routes()):
        app.include_router(router)
    app.add_middleware(Guard, settings=settings.web)
    app.add_middleware(Measure, metrics=service.metrics)
    return app
