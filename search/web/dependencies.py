"""What the routes share: settings, the engine, the decoders, what was asked lately."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from schemas.records import Answer
from schemas.settings import Settings
from schemas.storage.layout import Layout
from search.engine import QueryOptions, StyleQuery
from search.sql.sandbox import Sandbox, SandboxLimits
from search.web.db import Store
from search.web.engine_pool import EngineHolder, OpenEngine
from search.web.errors import Refused
from search.web.image_pool import DecoderPool, SmallPictures
from search.web.mapmaker import MapMaker
from search.web.middleware import Metrics
from search.web.swatches import Swatches

SQL_LIMITS = SandboxLimits(
    seconds=2.0, memory_bytes=256 * 1024 * 1024, rows=2000, result_bytes=2 * 1024 * 1024, threads=1
)


@dataclass(frozen=True)
class Service:
    """One server's parts; `request.app.state.service` in every route."""

    settings: Settings
    engines: EngineHolder
    decoders: DecoderPool
    smalls: SmallPictures
    remembered: Remembered
    metrics: Metrics
    store: Store
    maps: MapMaker
    swatches: Swatches
    sandbox: Sandbox | None

    @property
    def layout(self) -> Layout:
        return self.settings.layout

    @classmethod
    def create(cls, settings: Settings) -> Service:
        """Parts that are not started yet."""
        cores = len(os.sched_getaffinity(0))
        decoders = DecoderPool(max(2, min(cores, 4)), settings.decode.limits)
        return cls(
            settings,
            EngineHolder(settings, threads=max(2, cores)),
            decoders,
            SmallPictures(settings.layout, decoders, settings.decode.limits),
            Remembered(),
            Metrics(),
            Store(settings.layout.web),
            MapMaker(settings.layout),
            Swatches(settings.layout),
            Sandbox(settings.layout, SQL_LIMITS) if settings.web.sql == "on" else None,
        )

    async def start(self) -> None:
        """Open the index and start the decoders."""
        await self.decoders.start()
        await self.engines.start()

    async def close(self) -> None:
        """Let go of everything."""
        await self.maps.close()
        await self.engines.close()
        await self.decoders.close()
        self.store.close()
        if self.sandbox is not None:
            await asyncio.to_thread(self.sandbox.close)

    def catalog_state(self) -> str:
        """Whether the tables that the index was built from can be read."""
        log = self.layout.table("titles") / "_delta_log"
        try:
            entries = sorted(log.glob("*.json"))
            return "ok" if entries and entries[-1].read_bytes() else "missing"
        except OSError:
            return "unreadable"

    async def answer(
        self, opened: OpenEngine, style: Style, options: QueryOptions, names: list[str]
    ) -> Answer:
        """What the engine says about a style.

        Errors:  Refused (410) when the style was made by another model
        """
        engine = opened.engine
        if (style.model_id, style.preprocessing) != (
            engine.generation.model_id,
            engine.generation.preprocessing_digest,
        ):
            raise Refused(
                410,
                "other_model",
                "this result was made with another model",
                "Ask with the picture again.",
            )
        return await self.engines.run(
            lambda: engine.answer(style.question, options, picture_ids=style.own, names=names)
        )


def service_of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(service_of)]


# --- Styles that were asked about a moment ago: enough to ask again with other filters.
#
# Only vectors are kept, in memory, for the newest MAX_STYLES questions; a link that is to
# live longer is a share (`search/web/db.py`).

MAX_STYLES = 4096


@dataclass(frozen=True)
class Style:
    """A query's common style, without its pictures.

    `own` are those of the query's pictures that the index itself holds.
    """

    question: StyleQuery
    model_id: str
    preprocessing: str
    own: tuple[str, ...]
    pictures_count: int


class Remembered:
    """The newest styles under names that nobody can guess."""

    def __init__(self) -> None:
        self._styles: OrderedDict[str, Style] = OrderedDict()

    def keep(self, style: Style) -> str:
        """Keep a style; returns its id."""
        key = secrets.token_urlsafe(16)
        self._styles[key] = style
        while len(self._styles) > MAX_STYLES:
            self._styles.popitem(last=False)
        return key

    def get(self, key: str) -> Style | None:
        """The style of an id, while it is remembered."""
        if key in self._styles:
            self._styles.move_to_end(key)
        return self._styles.get(key)
