"""Small copies of stored pictures: by id only, re-encoded, the latest kept in memory."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict

from schemas.layout import Layout
from schemas.pictures import FORMATS, PictureLimits
from search.web.decoding import DecoderPool, SmallPicture
from search.web.engines import OpenEngine
from search.web.errors import not_found

SIDES_PX = {"small": 200, "medium": 400, "large": 1280}
CACHE_BYTES = 48 * 1024 * 1024
PICTURE_ID = re.compile(r"[0-9a-f]{64}")
EXTENSIONS = frozenset(FORMATS.values())


class SmallPictures:
    """Makes each copy once, also when many ask for it at the same time."""

    def __init__(self, layout: Layout, decoders: DecoderPool, limits: PictureLimits) -> None:
        self.layout, self.decoders, self.limits = layout, decoders, limits
        self._kept: OrderedDict[tuple[str, int], SmallPicture] = OrderedDict()
        self._kept_bytes = 0
        self._making: dict[tuple[str, int], asyncio.Task[SmallPicture]] = {}

    async def get(self, opened: OpenEngine, picture_id: str, side_px: int) -> SmallPicture:
        """A copy of a picture that the index holds.

        Errors:  Refused (404) when it holds no such picture or its file is gone
        """
        file = self._file(opened, picture_id)
        key = (picture_id, side_px)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._making:
            task = asyncio.create_task(self._make(file, side_px))
            self._making[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(self._making[key])

    def _file(self, opened: OpenEngine, picture_id: str) -> str:
        """The stored file of a picture; nothing that was sent becomes part of a path."""
        row = None
        if PICTURE_ID.fullmatch(picture_id):
            row = opened.engine.generation.meta.execute(
                "select picture_id, file from pictures where picture_id = ? and file is not null",
                (picture_id,),
            ).fetchone()
        if row is None:
            raise not_found("the index holds no such picture")
        known, file = row
        allowed = {Layout.picture_file(known, extension) for extension in EXTENSIONS}
        if file not in allowed:  # metadata from elsewhere must not name other files
            raise not_found("the file of this picture is not in the store")
        return str(file)

    async def _make(self, file: str, side_px: int) -> SmallPicture:
        path, cap = self.layout.picture(file), self.limits.max_bytes + 1

        def read() -> bytes:
            with path.open("rb") as opened:
                return opened.read(cap)

        try:
            data = await asyncio.to_thread(read)
        except OSError:
            raise not_found("the file of this picture is gone") from None
        return await self.decoders.small(data, side_px)

    def _done(self, key: tuple[str, int], task: asyncio.Task[SmallPicture]) -> None:
        del self._making[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._kept[key] = task.result()
        self._kept_bytes += len(task.result().data)
        while self._kept_bytes > CACHE_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.data)
