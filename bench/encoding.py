"""Bulk encoding against torch: pictures a second from JPEG bytes to unit vectors.

The yardstick is the loop that one would write first: Pillow decodes each picture, it is scaled
to the same longest side and padded to a square, and batches of 32 go through the same network in
torch eager, full precision, default threads. Our side decodes and encodes as `toonsearch embed`
does. Both see the same files, in turn, and medians are compared.
"""

from __future__ import annotations

import importlib.util
import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
from PIL import Image

from bench.catalog import drawing
from bench.figures import Figure
from indexer.embedding.encoder import Encoder
from indexer.embedding.models import shipped_model_dir
from indexer.embedding.preprocess import picture_to_pixels
from schemas.attempt import in_order
from schemas.images import PictureLimits

BATCH = 32
AHEAD = 4 * BATCH
PICTURES = 96
RUNS = 3
SHAPES = ((384, 288), (288, 384), (384, 384), (384, 256))


def measure(*, pictures: int = PICTURES) -> list[Figure]:
    if importlib.util.find_spec("torch") is None:
        print("bench: torch is not installed (make train-env): encoding left out", file=sys.stderr)
        return []
    files = [jpeg(number) for number in range(pictures)]
    loops = {"torch": torch_loop(), "ours": our_loop()}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(RUNS + 1):
        for name, loop in loops.items():
            some = files if turn else files[:BATCH]  # the first pass warms up
            started = time.perf_counter()
            loop(some)
            if turn:
                rates[name].append(len(some) / (time.perf_counter() - started))
    ours, torch = (statistics.median(rates[name]) for name in ("ours", "torch"))
    what = f"the same against torch eager in batches of {BATCH}"
    return [
        Figure("bulk_encoding", "bulk embedding, decoding included", ours, "1/s"),
        Figure("bulk_over_torch", what, ours / torch, "x", 8, "more", f"torch {torch:.1f}/s"),
    ]


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    drawing(number).resize(SHAPES[number % len(SHAPES)]).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def torch_loop() -> Callable[[Sequence[bytes]], object]:
    import torch

    from bench.torch_query import torch_encoder

    network, spec = torch_encoder(shipped_model_dir())
    longest_px = spec.max_side_px

    def square(data: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        scale = longest_px / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        page = Image.new("RGB", (longest_px, longest_px), "white")
        page.paste(image.resize((width, height), Image.Resampling.BICUBIC))
        return np.asarray(page)

    def encode(files: Sequence[bytes]) -> object:
        with torch.inference_mode():
            return [
                network(torch.from_numpy(np.stack([square(data) for data in files[n : n + BATCH]])))
                for n in range(0, len(files), BATCH)
            ]

    return encode


def our_loop() -> Callable[[Sequence[bytes]], object]:
    encoder = Encoder.open(shipped_model_dir(), bulk=True)
    limits, spec = PictureLimits(), encoder.pixel_spec

    def encode(files: Sequence[bytes]) -> object:
        decoded = in_order(lambda data: picture_to_pixels(data, limits, spec), files, AHEAD)
        pixels = (each for _, each in decoded)
        return [encoder.encode(batch) for batch in iter(lambda: list(islice(pixels, BATCH)), [])]

    return encode
