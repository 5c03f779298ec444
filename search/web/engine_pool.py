"""The engine that answers now, and how the next generation takes its place.

A request leases the engine and holds it to its end. A new generation is opened and checked
beside the old one, which is closed when its last lease ends; one that cannot be opened is
refused, once, and the old one goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import numpy as np

from indexer.labels.predict import products_on_one_thread
from indexer.vector_index.ranking import unit
from schemas.errors import NoIndexError, ToonsearchError
from schemas.settings import Settings
from search.engine import Engine, QueryOptions, StyleQuery

LOG = logging.getLogger("toonsearch.web")
CHECK_EVERY_S = 1.0
T = TypeVar("T")


class OpenEngine:
    """One engine with the number of its users, and what is derived from it once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.generation = engine.generation
        self.meta = engine.generation.meta
        self.users_count = 1  # the pool itself, until a newer generation answers
        self._derived: dict[str, Any] = {}

    def release(self) -> None:
        """One user less; the last one closes the files."""
        self.users_count -= 1
        if self.users_count == 0:
            self.engine.close()

    def once(self, name: str, work: Callable[[OpenEngine], T]) -> T:
        """Something that routes compute once for a generation, such as its list of names."""
        if name not in self._derived:
            self._derived[name] = work(self)
        found: T = self._derived[name]
        return found

    def records(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of the metadata, by the names of their columns."""
        cursor = self.meta.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def row_of(self, picture_id: str) -> int | None:
        """The row of a picture, the first where several titles have it; None when there is none."""
        found = self.meta.execute(
            "select min(row_id) from pictures where picture_id = ?", (picture_id,)
        ).fetchone()
        return None if found is None else found[0]

    def centroid(self, row_ids: np.ndarray, *, subject: bool = False) -> StyleQuery:
        """The normalised mean of stored vectors, with that of their subjects where wanted and
        known; (N,) int64"""
        mean = self.generation.vectors(row_ids).mean(axis=0)
        known = (
            self.generation.subjects.vectors(row_ids)
            if subject and self.generation.subjects
            else ()
        )
        about = np.asarray(unit(np.mean(known, axis=0)), np.float32) if len(known) else None
        return StyleQuery(np.asarray(unit(mean), np.float32), subject=about)


class EnginePool:
    """Opens engines, lends the newest one that works, and watches the pointer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.refused: str | None = None
        """Why the newest generation is not the one that answers."""
        self.opened_at_s = 0.0
        """When the index that answers was opened, in seconds since 1970; 0 without one."""
        self._current: OpenEngine | None = None
        self._pointer: bytes | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pictures_count(self) -> int:
        """Pictures in the index that answers; 0 without one."""
        return 0 if self._current is None else self._current.generation.pictures_count

    async def start(self) -> None:
        """Open what is published, and watch for something newer from now on."""
        await self.refresh()
        self._watch = asyncio.create_task(self._watching())

    async def close(self) -> None:
        """Stop watching and let go of all files."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        if self._current is not None:
            self._current.release()
            self._current = None

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[OpenEngine]:
        """The engine that answers now, for as long as one request needs it.

        Errors:  NoIndexError while there is none
        """
        current = self._current
        if current is None:
            raise NoIndexError(
                self.refused or "there is no index yet",
                "Run `toonsearch import folder DIR` and `toonsearch index build`;"
                " this page finds it by itself.",
            )
        current.users_count += 1
        try:
            yield current
        finally:
            current.release()

    async def refresh(self) -> None:
        """Open the published generation if the pointer has moved since the last check."""
        try:
            pointer: bytes | None = self.settings.layout.current.read_bytes()
        except OSError:
            pointer = None
        if pointer == self._pointer:
            return
        self._pointer = pointer
        if pointer is None:
            self.refused = None if self._current is None else "the index pointer is gone"
            return
        try:
            opened = await asyncio.to_thread(self._open)
        except ToonsearchError as error:
            self.refused = error.message
            LOG.warning("the new index is refused: %s", error)
            return
        except Exception:  # native readers raise types of their own
            self.refused = "the newest index cannot be opened"
            LOG.exception("the new index is refused")
            return
        self.refused = None
        before, self._current = self._current, opened
        self.opened_at_s = time.time()
        LOG.info("generation %s answers now", opened.generation.id)
        if before is not None:
            before.release()

    def _open(self) -> OpenEngine:
        engine = Engine.open(self.settings.layout, self.settings)
        engine.encoder.take_turns()
        products_on_one_thread()
        try:
            engine.generation.index.use(self.settings.index.device, first=True)
            # One whole query: whatever is wrong shows now, and what is slow is done.
            side = engine.encoder.pixel_spec.multiple_px * 4
            white = np.full((side, side, 3), 255, np.uint8)
            engine.answer(StyleQuery(engine.encoder.encode([white]).vectors[0]), QueryOptions())
        except BaseException:
            engine.close()
            raise
        return OpenEngine(engine)

    async def _watching(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            try:
                await self.refresh()
            except Exception:  # a watcher that died would freeze the page in time
                LOG.exception("looking for a new index failed")
