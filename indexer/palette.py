"""Dominant colours: a picture in a 3 x 2 grid, three colours for each region, 18 in all.

k-means runs on the histogram of a region, not on its pixels: colours that fall into one
small cube count as their mean with a weight.
"""

from __future__ import annotations

import colorsys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.panels.catalog import reading_order, searched
from indexer.panels.picture import PictureReader
from schemas.attempt import WorkReport, in_order
from schemas.images import PictureError
from schemas.progress import Progress
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    from PIL import Image

SIDE_PX = 256
"""Longest side at which colours are counted."""
ROWS, COLUMNS = 2, 3
"""The grid: regions are numbered from left to right, then from top to bottom."""
REGIONS = ROWS * COLUMNS
COLORS = 3
"""Colours for each region."""
STARTS = 3
FIRST_ROUNDS = 4
"""Of k-means from each start; the best one goes on."""
ROUNDS = 30


@dataclass(frozen=True)
class Palette:
    """Colours of one picture, the largest share first in each region.

    A region with fewer than three colours repeats its first one with a share of 0.

    Shapes:  rgb (6, 3, 3) uint8; hsv (6, 3, 3) float64; share (6, 3) float64
    Units:   hue 0..360, saturation and value 0..1; a region's shares sum to 1
    """

    rgb: np.ndarray
    hsv: np.ndarray
    share: np.ndarray


def picture_palette(image: Image.Image) -> Palette:
    """The palette of an upright RGB picture of any size; a long strip keeps enough pixels across
    for every region."""
    longest = max(image.size)
    if longest > SIDE_PX:
        from PIL import Image

        width, height = (max(1, round(side * SIDE_PX / longest)) for side in image.size)
        size = (max(COLUMNS, width), max(ROWS, height))
        image = image.resize(size, resample=Image.Resampling.BOX)  # cannot overshoot
    return palette_of(np.asarray(image.convert("RGB")))


def palette_of(pixels: np.ndarray) -> Palette:
    """The palette of pixels; the same ones always give the same.

    Shapes:  (H, W, 3) uint8, H >= 2 and W >= 3
    """
    height, width, _ = pixels.shape
    tops = [-(-row * height // ROWS) for row in range(ROWS + 1)]
    lefts = [-(-column * width // COLUMNS) for column in range(COLUMNS + 1)]
    rgb = np.empty((REGIONS, COLORS, 3), np.uint8)
    share = np.zeros((REGIONS, COLORS))
    for region in range(REGIONS):
        row, column = divmod(region, COLUMNS)
        block = pixels[tops[row] : tops[row + 1], lefts[column] : lefts[column + 1]]
        centres, counts = _clusters(block.reshape(-1, 3))
        order = np.argsort(-counts, kind="stable")
        rgb[region] = np.rint(centres[order[0]])
        rgb[region, : len(order)] = np.rint(centres[order])
        share[region, : len(order)] = counts[order] / counts.sum()
    hues = [colorsys.rgb_to_hsv(*color) for color in (rgb.reshape(-1, 3) / 255.0).tolist()]
    return Palette(rgb, np.reshape(hues, rgb.shape) * (360.0, 1.0, 1.0), share)


def _clusters(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best of several k-means from a fixed seed: at most three colours, and their pixels.

    Shapes:  (N, 3) uint8 -> (C, 3), (C,) float64
    Source:  Arthur, Vassilvitskii 2007, "k-means++"
    """
    cube = (pixels >> 3) @ np.array([1024, 32, 1])
    counts = np.bincount(cube)
    used = np.flatnonzero(counts)
    weights = counts[used].astype(np.float64)
    sums = np.stack([np.bincount(cube, channel)[used] for channel in pixels.T], axis=1)
    x = np.asarray(sums / weights[:, None], np.float32)
    rng = np.random.default_rng(0)
    starts = [_refined(x, weights, _start(x, weights, rng), FIRST_ROUNDS) for _ in range(STARTS)]
    centres, counts, _ = _refined(x, weights, max(starts, key=lambda one: one[2])[0], ROUNDS)
    return centres[counts > 0], counts[counts > 0]


def _start(x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """First centres, each drawn by weight x squared distance to the last ones; (C, 3)."""
    chance = weights
    far = np.full(len(x), np.inf, np.float32)
    centres: list[np.ndarray] = []
    while len(centres) < COLORS and chance.any():
        total = np.cumsum(chance)
        pick = np.searchsorted(total, rng.random() * total[-1], side="right")
        centres.append(x[min(pick, len(x) - 1)])
        far = np.minimum(far, ((x - centres[-1]) ** 2).sum(axis=1))
        chance = weights * far
    return np.stack(centres)


def _refined(
    x: np.ndarray, weights: np.ndarray, centres: np.ndarray, rounds: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Rounds of k-means until nothing moves: centres, their weights, and how good they are.

    Shapes:  (M, 3), (M,), (C, 3) -> (C, 3), (C,)
    """
    weighted = x * weights[:, None]
    for _ in range(rounds):
        nearest = _scores(x, centres).argmax(axis=1)
        count = np.bincount(nearest, weights, len(centres))
        sums = np.stack([np.bincount(nearest, one, len(centres)) for one in weighted.T], axis=1)
        before = centres
        centres = np.where(count[:, None] > 0, sums / np.maximum(count, 1.0)[:, None], before)
        centres = centres.astype(np.float32)
        if np.array_equal(before, centres):
            break
    return centres, count, float(weights @ _scores(x, centres).max(axis=1))


def _scores(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Largest for the nearest centre: -|x - c|^2 / 2 without |x|^2; (M, 3), (C, 3) -> (M, C)."""
    return np.asarray(x @ centres.T - 0.5 * (centres * centres).sum(axis=1))


# --- The colour stage: stored pictures without colours -> rows of the `colors` table.

COMMIT_ROWS = 2048 * REGIONS * COLORS
COMMIT_SECONDS = 60.0
WINDOW = 64  # pictures decoded ahead


def color_pending(
    layout: Layout,
    settings: Settings,
    *,
    dry_run: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> WorkReport:
    """Find the dominant colours of every stored picture that has none yet, or of as many as
    are done when `is_over` says that time is up.

    Counts: coloured, already, failed, pending, left. The caller holds the data root's lock, but for a dry run.

    Errors:  InputError when the catalog cannot be read or written
    """
    started = time.perf_counter()
    catalog = Catalog(layout)
    pending, already = _pending(catalog)
    pending = pending[:limit]
    report = WorkReport({"already": already})
    if dry_run:
        report.counts["pending"] = len(pending)
        return report
    report.counts |= {"coloured": 0, "failed": 0}
    batch: list[dict[str, Any]] = []
    last = time.monotonic()

    def commit() -> None:
        catalog.append("colors", batch)
        report.counts["coloured"] += len(batch) // (REGIONS * COLORS)
        batch.clear()

    reader = PictureReader(layout, settings.decode.limits)
    jobs = in_order(lambda row: picture_palette(reader.image(row, SIDE_PX)), pending, WINDOW)
    try:
        for done, (row, palette) in enumerate(jobs, 1):
            if isinstance(palette, PictureError):
                report.fail(row["file"], palette.message)
            else:
                batch += color_rows(row["picture_id"], palette)
            if len(batch) >= COMMIT_ROWS or time.monotonic() - last > COMMIT_SECONDS:
                commit()
                last = time.monotonic()
            if progress:
                progress(done, len(pending))
            if is_over() and done < len(pending):
                report.counts["left"] = len(pending) - done
                break
    finally:  # Ctrl-C keeps what was already computed
        commit()
    report.seconds = time.perf_counter() - started
    return report


def _pending(catalog: Catalog) -> tuple[list[dict[str, Any]], int]:
    """Rows of stored pictures and panels without colours, and how many have them."""
    known = set(catalog.read("colors", ["picture_id"])["picture_id"].unique().to_pylist())
    rows = searched(catalog, ["picture_id", "file", "status"]).to_pylist()
    stored = {row["picture_id"]: row for row in rows if row["status"] == "stored"}
    pending = [row for picture_id, row in stored.items() if picture_id not in known]
    return sorted(pending, key=reading_order), len(stored) - len(pending)


def color_rows(picture_id: str, palette: Palette) -> list[dict[str, Any]]:
    """The 18 rows of a picture in the table `colors`."""
    return [
        {
            "picture_id": picture_id,
            "region": region,
            "rank": rank,
            **dict(zip("rgb", palette.rgb[region, rank].tolist(), strict=True)),
            **dict(zip("hsv", palette.hsv[region, rank].tolist(), strict=True)),
            "share": float(palette.share[region, rank]),
        }
        for region, rank in np.ndindex(REGIONS, COLORS)
    ]
