"""A few decoder processes, each given the pictures of one query at a time and ended when it hangs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from indexer.embedding.preprocess import PixelSpec
from schemas.errors import InputError
from schemas.images import FORMATS, PictureError, PictureLimits, Reason
from schemas.records import AskedPanel, AskedPart, Panel
from schemas.storage.layout import Layout
from search.inputs import QueryPicture
from search.panels import Cutting, Seen, joined
from search.web.engine_pool import OpenEngine
from search.web.errors import not_found
from search.web.image_worker import FRAME, MAX_HEADER_BYTES

TIMEOUT_S = 20.0
"""Several times as long as the largest allowed picture takes."""
MAX_BODY_BYTES = 1 << 26
"""Of an answer: more than the prepared panels of a query or a small copy have."""
ROOT = Path(__file__).resolve().parents[2]


def _seen(answer: dict[str, Any], body: bytes) -> Seen:
    """What a process saw.

    Errors:  PictureError when its answer makes no sense
    """
    try:
        shapes = [(int(height), int(width), 3) for height, width in answer["shapes"]]
        ends = list(accumulate((h * w * c for h, w, c in shapes), initial=0))
        if ends[-1] != len(body) or min((min(shape) for shape in shapes), default=1) < 1:
            raise ValueError("pixels of another size")
        flat = np.frombuffer(body, np.uint8)
        pixels = [flat[a:b].reshape(s) for (a, b), s in zip(pairwise(ends), shapes, strict=True)]
        panels = tuple(
            AskedPanel(
                **{
                    **one,
                    "parts": tuple(AskedPart(p["picture"], tuple(p["box"])) for p in one["parts"]),
                }
            )
            for one in answer["panels"]
        )
        refused = {
            int(place): PictureError(Reason(reason), message, hint)
            if reason
            else InputError(message, hint)
            for place, (reason, message, hint) in answer["refused"].items()
        }
        return Seen(pixels, panels, bool(answer["is_cut"]), tuple(answer["notes"]), refused)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise PictureError(Reason.DAMAGED, "the picture cannot be decoded") from None


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
        self._thumbnail_turn = asyncio.Semaphore(max(1, size - 1))
        self._running: set[Process] = set()
        self._ending: set[asyncio.Task[int]] = set()

    async def start(self) -> None:
        """Start all processes before the first picture comes."""
        for _ in range(self._size):
            self._free.put_nowait(await self._spawn())

    async def close(self) -> None:
        """End all processes."""
        for process in list(self._running):
            self._end(process)
        await asyncio.gather(*self._ending)

    async def see(
        self, pictures: Sequence[QueryPicture], spec: PixelSpec, cutting: Cutting
    ) -> Seen:
        """What asks of the pictures of a query, taken together.

        Pictures that one process cannot take together are tried one by one: what ends it costs
        one picture.

        Errors:  PictureError when a single picture ends its process
        """
        try:
            return await self._see(pictures, spec, cutting)
        except PictureError:
            if len(pictures) < 2:
                raise
        tried = await asyncio.gather(
            *(self._see([one], spec, cutting) for one in pictures), return_exceptions=True
        )
        seen = []
        for one in tried:
            if isinstance(one, InputError):
                seen.append(Seen(refused={0: one}))
            elif isinstance(one, BaseException):
                raise one
            else:
                seen.append(one)
        return joined(seen)

    async def _see(
        self, pictures: Sequence[QueryPicture], spec: PixelSpec, cutting: Cutting
    ) -> Seen:
        header = {
            "task": "see",
            "pictures": [
                {
                    "name": one.name,
                    "bytes": len(one.data),
                    "crop": one.crop and asdict(one.crop),
                }
                for one in pictures
            ],
            "spec": spec.to_json(),
            "cutting": asdict(cutting),
        }
        answer, body = await self._ask(header, b"".join(one.data for one in pictures))
        return _seen(answer, body)

    async def thumbnail(
        self, data: Sequence[bytes], side_px: int, panel: Panel | None = None
    ) -> Thumbnail:
        """A small copy of a stored picture, or of a panel that lies in several.

        Errors:  PictureError
        """
        header = {
            "task": "thumbnail",
            "side_px": side_px,
            "closer": side_px < SIDES_PX["large"],  # one looks at a large one as it is
            "panel": panel and panel.to_text(),
            "bytes": [len(one) for one in data],
        }
        async with self._thumbnail_turn:
            answer, body = await self._ask(header, b"".join(data))
        return Thumbnail(body, int(answer["width"]), int(answer["height"]))

    async def _ask(self, header: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        header = {**header, "limits": asdict(self.limits)}
        async with self._process() as process:
            try:
                async with asyncio.timeout(self.timeout_s):
                    answer, body = await _exchange(process, header, data)
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                late = isinstance(error, TimeoutError)
                why = "takes too long to decode" if late else "cannot be decoded"
                hint = "Save it again with another program."
                raise PictureError(Reason.DAMAGED, f"the picture {why}", hint) from None
        if "error" in answer:
            reason, message, hint = answer["error"]
            if reason in set(Reason):
                raise PictureError(Reason(reason), message, hint)
            raise InputError(message, hint)
        return answer, body

    @contextlib.asynccontextmanager
    async def _process(self) -> AsyncIterator[Process]:
        """A process for one picture; one that did not answer in full is replaced."""
        process = await self._free.get()
        try:
            if process is not None and process.returncode is not None:
                self._end(process)
                process = None
            process = process or await self._spawn()
            yield process
        except BaseException:
            if process is not None:
                self.restarts_count += 1
                self._end(process)
            process = None
            raise
        finally:
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

    def _end(self, process: Process) -> None:
        self._running.discard(process)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        task = asyncio.create_task(process.wait())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


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


# --- Thumbnails of stored pictures: by id only, re-encoded, the latest cached in memory.

SIDES_PX = {"small": 200, "medium": 400, "large": 1280}
CACHE_BYTES = 48 * 1024 * 1024
PICTURE_ID = re.compile(r"[0-9a-f]{64}")


class ThumbnailCache:
    """Makes each thumbnail once, also when many ask for it at the same time."""

    def __init__(self, layout: Layout, decoders: DecoderPool) -> None:
        self.layout, self.decoders = layout, decoders
        self._cached: OrderedDict[tuple[str, int], Thumbnail] = OrderedDict()
        self._cached_bytes = 0
        self._making: dict[tuple[str, int], asyncio.Task[Thumbnail]] = {}

    async def get(self, opened: OpenEngine, picture_id: str, side_px: int) -> Thumbnail:
        """A copy of a picture that the index holds.

        Errors:  ApiError (404) when it holds no such picture or its file is gone
        """
        files, panel = _stored(opened, picture_id)
        key = (picture_id, side_px)
        if key in self._cached:
            self._cached.move_to_end(key)
            return self._cached[key]
        if key not in self._making:
            task = asyncio.create_task(self._make(files, panel, side_px))
            self._making[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(self._making[key])

    async def _make(self, files: Sequence[str], panel: Panel | None, side_px: int) -> Thumbnail:
        try:
            data = [await asyncio.to_thread(self.layout.picture(file).read_bytes) for file in files]
        except OSError:
            raise not_found("the file of this picture is gone") from None
        return await self.decoders.thumbnail(data, side_px, panel)

    def _done(self, key: tuple[str, int], task: asyncio.Task[Thumbnail]) -> None:
        del self._making[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._cached[key] = task.result()
        self._cached_bytes += len(task.result().data)
        while self._cached_bytes > CACHE_BYTES:
            _, oldest = self._cached.popitem(last=False)
            self._cached_bytes -= len(oldest.data)


def _stored(opened: OpenEngine, picture_id: str) -> tuple[list[str], Panel | None]:
    """The stored file of a picture, or those that a panel is part of; nothing that was sent becomes
    part of a path."""
    row = opened.meta.execute(
        "select picture_id, file, panel from pictures where picture_id = ? and file is not null",
        (picture_id,),
    ).fetchone()
    if row is None or not PICTURE_ID.fullmatch(row[0]):
        raise not_found("the index holds no such picture")
    known, file, text = row
    panel = Panel.of_text(text)
    named = [(part.picture_id, part.file) for part in panel.slices] if panel else [(known, file)]
    for own_id, own in named:
        if not PICTURE_ID.fullmatch(own_id) or own not in {
            Layout.picture_file(own_id, extension) for extension in FORMATS.values()
        }:
            # metadata from elsewhere must not name other files
            raise not_found("the file of this picture is not in the store")
    return [str(own) for _, own in named], panel
