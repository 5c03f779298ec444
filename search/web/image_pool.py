"""A few decoder processes, each given one picture at a time and ended when it hangs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer.embedding.preprocess import PixelSpec
from schemas.errors import InputError, ToonsearchError
from schemas.images import FORMATS, PictureError, PictureLimits, Reason, picture_id_of
from schemas.storage.layout import Layout
from search.inputs import QueryPicture
from search.web.engine_pool import OpenEngine
from search.web.errors import not_found
from search.web.image_worker import FRAME, MAX_HEADER_BYTES

TIMEOUT_S = 8.0
"""A 40-megapixel PNG takes 1 to 2 s on one slow core."""
MAX_BODY_BYTES = 1 << 24
"""Of an answer: pixels of 4096 a side never come, 352 x 352 x 3 or a small copy do."""
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class PreparedPicture(QueryPicture):
    """A query picture whose pixels another process has prepared."""

    known_id: str = ""
    prepared: np.ndarray | None = None

    @property
    def picture_id(self) -> str:
        return self.known_id

    def pixels(self, limits: PictureLimits, spec: PixelSpec) -> np.ndarray:
        assert self.prepared is not None
        return self.prepared


@dataclass(frozen=True)
class Thumbnail:
    """A small re-encoded copy (WebP)."""

    data: bytes
    width_px: int
    height_px: int


class DecoderPool:
    """Decodes in `size` processes; thumbnails leave one of them to queries."""

    def __init__(self, size: int, limits: PictureLimits, timeout_s: float = TIMEOUT_S) -> None:
        self.limits, self.timeout_s = limits, timeout_s
        self.restarts_count = 0
        self._size = size
        self._free: asyncio.Queue[Process | None] = asyncio.Queue()
        for _ in range(size):
            self._free.put_nowait(None)
        self._thumbnail_turn = asyncio.Semaphore(max(1, size - 1))
        self._running: set[Process] = set()
        self._ending: set[asyncio.Task[int]] = set()

    async def start(self) -> None:
        """Start all processes before the first picture comes."""
        for _ in range(self._size):
            if (await self._free.get()) is None:
                self._free.put_nowait(await self._spawn())

    async def close(self) -> None:
        """End all processes."""
        for process in list(self._running):
            await self._end(process)
        await asyncio.gather(*self._ending)

    async def pixels(
        self, picture: QueryPicture, crop: str | None, spec: PixelSpec
    ) -> QueryPicture:
        """A query picture with the pixels that the network sees.

        Errors:  PictureError, InputError
        """
        header = {"task": "pixels", "name": picture.name, "crop": crop, "spec": spec.to_json()}
        answer, body = await self._ask(header, picture.data)
        shape = (int(answer["height"]), int(answer["width"]), 3)
        if len(body) != shape[0] * shape[1] * shape[2]:
            raise PictureError(Reason.DAMAGED, f"{picture.name}: the picture cannot be decoded")
        pixels = np.frombuffer(body, np.uint8).reshape(shape)
        return PreparedPicture(
            picture.name,
            b"",
            None,
            known_id=picture_id_of(picture.data),
            prepared=pixels,
        )

    async def thumbnail(self, data: bytes, side_px: int) -> Thumbnail:
        """A small copy of a stored picture.

        Errors:  PictureError
        """
        async with self._thumbnail_turn:
            answer, body = await self._ask({"task": "thumbnail", "side_px": side_px}, data)
        return Thumbnail(body, int(answer["width"]), int(answer["height"]))

    async def _ask(self, header: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        async with self._process() as process:
            try:
                async with asyncio.timeout(self.timeout_s):
                    answer, body = await _exchange(
                        process, {**header, "limits": asdict(self.limits)}, data
                    )
            except TimeoutError:
                raise PictureError(
                    Reason.DAMAGED,
                    "the picture takes too long to decode",
                    "Save it again with another program.",
                ) from None
            except (OSError, ValueError, KeyError, asyncio.IncompleteReadError):
                raise PictureError(
                    Reason.DAMAGED,
                    "the picture cannot be decoded",
                    "Save it again with another program.",
                ) from None
        if "error" in answer:
            raise _error(*answer["error"])
        return answer, body

    @contextlib.asynccontextmanager
    async def _process(self) -> AsyncIterator[Process]:
        """A process of one's own; one that did not answer in full is replaced."""
        process = await self._free.get()
        sound = False
        try:
            if process is None or process.returncode is not None:
                if process is not None:
                    self._running.discard(process)
                process = await self._spawn()
            yield process
            sound = True
        finally:
            if not sound and process is not None:
                self.restarts_count += 1
                process_to_end, process = process, None
                self._running.discard(process_to_end)
                with contextlib.suppress(ProcessLookupError):
                    process_to_end.kill()
                task = asyncio.create_task(process_to_end.wait())
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
            self._free.put_nowait(process)

    async def _spawn(self) -> Process:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "search.web.image_worker",
            stdin=PIPE,
            stdout=PIPE,
            limit=1 << 20,
            env={"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "PATH": os.defpath},
        )
        self._running.add(process)
        return process

    async def _end(self, process: Process) -> None:
        self._running.discard(process)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _exchange(
    process: Process, header: dict[str, Any], data: bytes
) -> tuple[dict[str, Any], bytes]:
    assert process.stdin is not None and process.stdout is not None
    head = json.dumps(header).encode()
    process.stdin.write(FRAME.pack(len(head), len(data)) + head)
    process.stdin.write(data)
    await process.stdin.drain()
    head_bytes, body_bytes = FRAME.unpack(await process.stdout.readexactly(FRAME.size))
    if head_bytes > MAX_HEADER_BYTES or body_bytes > MAX_BODY_BYTES:
        raise ValueError("an answer of impossible length")
    answer = json.loads(await process.stdout.readexactly(head_bytes))
    body = await process.stdout.readexactly(body_bytes)
    if not isinstance(answer, dict):
        raise ValueError("an answer of another kind")
    return answer, body


def _error(reason: str, message: str, hint: str) -> ToonsearchError:
    if reason in set(Reason):
        return PictureError(Reason(reason), message, hint)
    return InputError(message, hint)


# --- Thumbnails of stored pictures: by id only, re-encoded, the latest cached in memory.

SIDES_PX = {"small": 200, "medium": 400, "large": 1280}
CACHE_BYTES = 48 * 1024 * 1024
PICTURE_ID = re.compile(r"[0-9a-f]{64}")
EXTENSIONS = frozenset(FORMATS.values())


class ThumbnailCache:
    """Makes each thumbnail once, also when many ask for it at the same time."""

    def __init__(self, layout: Layout, decoders: DecoderPool, limits: PictureLimits) -> None:
        self.layout, self.decoders, self.limits = layout, decoders, limits
        self._cached: OrderedDict[tuple[str, int], Thumbnail] = OrderedDict()
        self._cached_bytes = 0
        self._making: dict[tuple[str, int], asyncio.Task[Thumbnail]] = {}

    async def get(self, opened: OpenEngine, picture_id: str, side_px: int) -> Thumbnail:
        """A copy of a picture that the index holds.

        Errors:  ApiError (404) when it holds no such picture or its file is gone
        """
        file = self._file(opened, picture_id)
        key = (picture_id, side_px)
        if key in self._cached:
            self._cached.move_to_end(key)
            return self._cached[key]
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

    async def _make(self, file: str, side_px: int) -> Thumbnail:
        path, cap = self.layout.picture(file), self.limits.max_bytes + 1

        def read() -> bytes:
            with path.open("rb") as opened:
                return opened.read(cap)

        try:
            data = await asyncio.to_thread(read)
        except OSError:
            raise not_found("the file of this picture is gone") from None
        return await self.decoders.thumbnail(data, side_px)

    def _done(self, key: tuple[str, int], task: asyncio.Task[Thumbnail]) -> None:
        del self._making[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._cached[key] = task.result()
        self._cached_bytes += len(task.result().data)
        while self._cached_bytes > CACHE_BYTES:
            _, oldest = self._cached.popitem(last=False)
            self._cached_bytes -= len(oldest.data)
