"""Decoding happens elsewhere: what a file does there, the server survives."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.embedding.preprocess import PixelSpec, picture_to_pixels
from schemas.images import PictureError, PictureLimits, Reason
from search.inputs import QueryPicture
from search.panels import AUTO, Seen, see
from search.web import image_pool
from search.web.image_pool import DecoderPool
from tests import strips
from tests.search.artists import draw

LIMITS = PictureLimits()
BOXES = [(20, 30, 360, 420), (20, 520, 360, 420), (20, 1010, 360, 450)]


def png(image: Image.Image) -> bytes:
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


def with_pool(work: Callable[[DecoderPool], Awaitable[None]], **options: float) -> None:
    async def run() -> None:
        pool = DecoderPool(2, LIMITS, **options)
        await pool.start()
        try:
            await work(pool)
        finally:
            await pool.close()

    asyncio.run(run())


def test_pixels_are_those_of_the_one_path() -> None:
    async def work(pool: DecoderPool) -> None:
        spec = PixelSpec(min_side_px=352)
        for seed in range(4):
            data = png(draw(seed % 3, seed))
            seen = await pool.see([QueryPicture("a", data)], spec, AUTO)
            wanted = picture_to_pixels(data, LIMITS, spec)
            assert len(seen.pixels) == 1 and np.array_equal(seen.pixels[0], wanted)
            assert not seen.is_cut and not seen.notes and not seen.refused

    with_pool(work)


def test_a_strip_is_cut_in_the_process_as_on_the_command_line() -> None:
    async def work(pool: DecoderPool) -> None:
        strip = QueryPicture("strip.png", png(strips.page((400, 1500), BOXES)))
        seen = await pool.see([strip, QueryPicture("b", png(draw(0, 1)))], PixelSpec(), AUTO)
        here = see([strip, QueryPicture("b", png(draw(0, 1)))], LIMITS, PixelSpec(), AUTO)
        assert seen.is_cut and seen.panels == here.panels and seen.notes == here.notes
        assert len(seen.pixels) == len(BOXES) + 1
        for one, other in zip(seen.pixels, here.pixels, strict=True):
            assert np.array_equal(one, other)

    with_pool(work)


def test_pictures_that_end_a_process_together_are_tried_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(pool: DecoderPool) -> None:
        asked = pool._see

        async def one_at_a_time(pictures: Sequence[QueryPicture], *rest: Any) -> Seen:
            if len(pictures) > 1 or pictures[0].name == "bad":
                raise PictureError(Reason.DAMAGED, "the picture cannot be decoded")
            return await asked(pictures, *rest)

        monkeypatch.setattr(pool, "_see", one_at_a_time)
        strip = QueryPicture("strip.png", png(strips.page((400, 1500), BOXES)))
        bad, good = QueryPicture("bad", b"?"), QueryPicture("good", png(draw(0, 1)))
        seen = await pool.see([bad, strip, good], PixelSpec(), AUTO)
        assert list(seen.refused) == [0] and len(seen.pixels) == len(BOXES) + 1
        assert [panel.number for panel in seen.panels] == [1, 2, 3, 4]
        assert [panel.parts[0].picture for panel in seen.panels] == [2, 2, 2, 3]

    with_pool(work)


@pytest.mark.slow
def test_a_process_that_dies_or_hangs_costs_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: DecoderPool) -> None:
        good = QueryPicture("good", png(draw(0, 1)))
        for process in list(pool._running):
            process.kill()
        failures = 0
        for _ in range(4):
            try:
                await pool.see([good], PixelSpec(), AUTO)
            except PictureError:
                failures += 1
        assert failures <= 2  # one for each process that was killed
        pool.timeout_s = 0.0
        with pytest.raises(PictureError, match="too long"):
            await pool.see([good], PixelSpec(), AUTO)
        pool.timeout_s = image_pool.TIMEOUT_S
        await pool.see([good], PixelSpec(), AUTO)
        assert pool.restarts_count >= 1

    with_pool(work)


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is enormous."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.slow
def test_the_largest_allowed_picture_fits_and_a_larger_one_is_refused() -> None:
    async def work(pool: DecoderPool) -> None:
        side = int(LIMITS.max_pixels**0.5)
        image = Image.new("RGBA", (side, side), (10, 20, 30, 90))
        image.paste((200, 20, 30, 255), (0, 0, side // 2, side // 2))
        large = png(image)
        await pool.see([QueryPicture("large", large)], PixelSpec(), AUTO)
        refused = [QueryPicture("bomb", bomb(60_000, 60_000)), QueryPicture("a", png(draw(0, 1)))]
        seen = await pool.see(refused, PixelSpec(), AUTO)
        assert len(seen.pixels) == 1 and list(seen.refused) == [0]
        error = seen.refused[0]
        assert isinstance(error, PictureError) and error.reason is Reason.TOO_MANY_PIXELS

    with_pool(work)


def hostile(count: int) -> list[bytes]:
    """Uploads that nobody sends by accident: bombs, polyglots, truncated and mutated files."""
    rng = np.random.default_rng(7)
    image = draw(1, 5)
    seeds = []
    for form, options in (
        ("PNG", {}), ("JPEG", {"quality": 80}), ("WEBP", {}), ("GIF", {}),
        ("JPEG", {"exif": b"Exif\0\0" + b"\xff" * 2000}), ("PNG", {"icc_profile": b"\0" * 5000}),
    ):  # fmt: skip
        held = io.BytesIO()
        image.save(held, form, **options)
        seeds.append(held.getvalue())
    frames = io.BytesIO()
    image.save(frames, "GIF", save_all=True, append_images=[draw(1, n) for n in range(60)])
    found = [
        bomb(60_000, 60_000), bomb(2**31 - 1, 1), bomb(0, 0), bomb(6000, 6000), frames.getvalue(),
        b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\xff\xff\xff\xffWEBP",
        b"<svg onload=alert(1) xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7",
        b"8BPS" + bytes(90),
        b"MZ" + bytes(500), b"PK\x03\x04" + bytes(500), b"<script>alert(1)</script>",
        seeds[3] + b"<script>alert(1)</script>", b"#!/bin/sh\n" + seeds[0], bytes(1_000_000),
        b"SIMPLE  =                    T" + b" " * 2850,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ]  # fmt: skip
    while len(found) < count:
        data = bytearray(seeds[len(found) % len(seeds)])
        if len(found) % 3 == 0:
            found.append(bytes(data[: int(rng.integers(1, len(data)))]))
            continue
        for place in rng.integers(0, min(len(data), 400), int(rng.integers(1, 20))):
            data[place] = int(rng.integers(256))
        found.append(bytes(data))
    return found


@pytest.mark.slow
def test_two_hundred_hostile_uploads(client: object) -> None:
    uploads = hostile(200)
    statuses: dict[int, int] = {}
    for number, data in enumerate(uploads):
        if number % 2:
            answer = client.post("/v1/query", content=data)  # type: ignore[attr-defined]
        else:
            files = [("picture", ("<script>.png", data))]
            answer = client.post("/v1/query", files=files)  # type: ignore[attr-defined]
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        assert answer.status_code in (200, 413, 415, 422), (number, answer.text)
        assert "Traceback" not in answer.text
    assert client.get("/healthz").status_code == 200  # type: ignore[attr-defined]
    assert sum(statuses.values()) == 200 and statuses[415] > 15 and statuses[422] > 20
