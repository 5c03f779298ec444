"""Bulk encoding against torch: pictures a second from JPEG bytes to unit vectors.

The yardstick is the loop that one would write first: Pillow decodes each picture, it is scaled
to the same longest side and padded to a square, batches of 32 go through the same network in
torch eager, full precision, default threads. Our side is the decoding and encoding that
`toonsearch embed` does. Both see the same files; passes alternate, so that a slow minute of
the machine hits both, and medians are compared.

`python -m bench.encoding --json FILE --pictures DIR|--synthetic`
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.catalog import drawing
from bench.figures import Figure, write_json
from indexer.embedding.encoder import Encoder, Runtime
from indexer.embedding.models import shipped_model_dir
from indexer.embedding.preprocess import picture_to_pixels
from schemas.images import PictureLimits

BATCH = 32
DECODERS = 2
WINDOW = 4 * BATCH
RUNS = 3
COUNT = 96
TARGET_RATIO = 8.0
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})


def synthetic_pictures(count: int) -> list[bytes]:
    """JPEG files of drawings made in code: portrait, landscape and square."""
    shapes = ((384, 288), (288, 384), (384, 384), (384, 256))
    files = []
    for number in range(count):
        buffer = io.BytesIO()
        shape = shapes[number % len(shapes)]
        drawing(number).resize(shape).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def folder_pictures(folder: Path, count: int) -> list[bytes]:
    """Picture files of a folder, spread evenly over its sorted names."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    return [path.read_bytes() for path in paths[:: max(1, len(paths) // count)][:count]]


def torch_loop() -> Callable[[Sequence[bytes]], np.ndarray]:
    """The yardstick, as described above."""
    import torch

    from indexer.training.export import torch_encoder

    network, spec = torch_encoder(shipped_model_dir())
    longest_px = spec.max_side_px

    def square(data: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        scale = longest_px / max(image.size)
        size = tuple(max(1, round(side * scale)) for side in image.size)
        page = Image.new("RGB", (longest_px, longest_px), "white")
        page.paste(image.resize((size[0], size[1]), Image.Resampling.BICUBIC))
        return np.asarray(page)

    def encode(files: Sequence[bytes]) -> np.ndarray:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(files), BATCH):
                batch = np.stack([square(data) for data in files[start : start + BATCH]])
                parts.append(network(torch.from_numpy(batch))[0].numpy())
        return np.concatenate(parts)

    return encode


def our_loop(encoder: Encoder) -> Callable[[Sequence[bytes]], np.ndarray]:
    """Decoding a bounded window ahead of the encoder, as `indexer.embedding.embed` does."""
    limits, spec = PictureLimits(), encoder.pixel_spec

    def decoded(files: Sequence[bytes]) -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(DECODERS) as pool:
            ahead: deque[Future[np.ndarray]] = deque()
            for data in files:
                ahead.append(pool.submit(picture_to_pixels, data, limits, spec))
                if len(ahead) >= WINDOW:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def encode(files: Sequence[bytes]) -> np.ndarray:
        parts, batch = [], []
        for number, pixels in enumerate(decoded(files), 1):
            batch.append(pixels)
            if len(batch) == BATCH or number == len(files):
                parts.append(encoder.encode(batch).vectors)
                batch = []
        return np.concatenate(parts)

    return encode


def compare(files: Sequence[bytes], runs: int, runtime: Runtime = "auto") -> dict[str, float]:
    """Pictures a second of both loops, in turn; the first pass warms up and does not count."""
    encoder = Encoder.open(shipped_model_dir(), runtime=runtime, bulk=True)
    loops = {"torch": torch_loop(), "ours": our_loop(encoder)}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(runs + 1):
        for name, loop in loops.items():
            some = files if turn else files[:BATCH]
            started = time.perf_counter()
            loop(some)
            if turn:
                rates[name].append(len(some) / (time.perf_counter() - started))
    ours, torch = (statistics.median(rates[name]) for name in ("ours", "torch"))
    return {"ours": ours, "torch": torch, "ratio": ours / torch}


def measure(files: Sequence[bytes] | None = None, runs: int = RUNS) -> list[Figure]:
    """The bulk figures, on synthetic drawings unless files are given."""
    files = synthetic_pictures(COUNT) if files is None else files
    found: dict[str, Any] = compare(files, runs)
    how = f"{len(files)} pictures, decoding included, torch {found['torch']:.1f}/s"
    return [
        Figure("bulk_encoding", found["ours"], "1/s", 0.0, "more", how),
        Figure(
            "bulk_over_torch_eager", found["ratio"], "x", TARGET_RATIO, "more",
            f"same files, torch eager in batches of {BATCH}, full precision",
        ),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module; 4 when the target is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.encoding", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--pictures", type=Path, help="a folder of pictures")
    source.add_argument("--synthetic", action="store_true", help="drawings made in code (default)")
    parser.add_argument("--count", type=int, default=COUNT, help="pictures of each pass")
    parser.add_argument("--runs", type=int, default=RUNS, help="passes of each side")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    if options.pictures:
        files = folder_pictures(options.pictures, options.count)
        if not files:
            parser.error(f"no pictures in {options.pictures}")
    else:
        files = synthetic_pictures(options.count)
    figures = measure(files, options.runs)
    for figure in figures:
        print(figure.line())
    if options.json:
        write_json(options.json, figures)
    return 0 if all(figure.reached for figure in figures) else 4


if __name__ == "__main__":
    sys.exit(main())
