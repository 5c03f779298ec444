"""Dominant colours: a picture in a 3 x 2 grid, three colours for each region, 18 in all.

k-means runs on the histogram of a region, not on its pixels: colours that fall into one
small cube count as their mean with a weight. A drawing has a few hundred such cubes where
it has ten thousand pixels, so several starts cost less than one pass over the pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from indexer.embedding.embed import in_order
from schemas.images import PictureError, PictureLimits, decode_picture, stored_bytes
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
BITS = 5
"""Of each channel; a cube of the histogram is 8 levels wide."""
STARTS = 3
FIRST_ROUNDS = 2
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
    """The palette of an upright RGB picture of any size."""
    if max(image.size) > SIDE_PX:
        from PIL import Image

        image = image.copy()
        image.thumbnail((SIDE_PX, SIDE_PX), resample=Image.Resampling.BOX)  # cannot overshoot
    return palette_of(np.asarray(image.convert("RGB")))


def palette_of(pixels: np.ndarray) -> Palette:
    """The palette of pixels.

    Shapes:  (H, W, 3) uint8, H >= 2 and W >= 3
    """
    cells = _cells(pixels)
    centres = _refined(cells, _best_start(cells))  # (6, 3, 3)
    share = _totals(cells, _nearest(cells.color, centres))[:, :, 3]  # (6, 3)
    order = np.argsort(-share, axis=1, kind="stable")
    share = np.take_along_axis(share, order, axis=1)
    centres = np.take_along_axis(centres, order[:, :, None], axis=1)
    centres = np.where(share[:, :, None] > 0, centres, centres[:, :1])
    rgb = np.clip(np.rint(centres), 0, 255).astype(np.uint8)
    return Palette(rgb, hsv_of(rgb), share / share.sum(axis=1, keepdims=True))


class _Cells(NamedTuple):
    """Histograms of P regions, padded to M cells with a count of 0.

    Shapes:  color (P, M, 3) float32, the mean of a cell; sums (P, M, 4) float32: r, g, b and
             1, each times the count
    """

    color: np.ndarray
    sums: np.ndarray


def _cells(pixels: np.ndarray) -> _Cells:
    """Occupied cubes of each region; (H, W, 3) uint8 -> P = 6."""
    height, width, _ = pixels.shape
    row = np.minimum(np.arange(height) * ROWS // height, ROWS - 1)
    column = np.minimum(np.arange(width) * COLUMNS // width, COLUMNS - 1)
    region = (row[:, None] * COLUMNS + column[None, :]).astype(np.int32)
    planes = np.ascontiguousarray(pixels.reshape(-1, 3).T)  # (3, H * W)
    r, g, b = planes >> (8 - BITS)
    key = ((region.ravel() << BITS | r) << BITS | g) << BITS | b
    count = np.bincount(key, minlength=REGIONS << (3 * BITS))
    used = np.flatnonzero(count)  # ascending: region by region
    number = np.empty(len(count), dtype=np.int32)
    number[used] = np.arange(len(used), dtype=np.int32)
    short = number[key]
    sums = [*(np.bincount(short, plane, len(used)) for plane in planes), count[used]]
    of = used >> (3 * BITS)
    place = np.arange(len(used)) - np.searchsorted(of, np.arange(REGIONS))[of]
    total = np.zeros((REGIONS, int(place.max()) + 1, 4), dtype=np.float32)
    total[of, place] = np.stack(sums, axis=1)
    return _Cells(total[:, :, :3] / np.maximum(total[:, :, 3:], 1.0), total)


def _best_start(cells: _Cells) -> np.ndarray:
    """Short k-means from several starts in each region, and the best of them.

    The starts are drawn as k-means++ does, from a fixed seed: the same picture always gives
    the same palette.

    Shapes:  P regions -> (P, 3, 3)
    Source:  Arthur, Vassilvitskii 2007, "k-means++"
    """
    regions = len(cells.color)
    many = _Cells(*(np.repeat(part, STARTS, axis=0) for part in cells))  # R * STARTS problems
    centres = _starts(many.color, many.sums[:, :, 3], np.random.default_rng(0))
    centres = _refined(many, centres, FIRST_ROUNDS)
    chosen = np.take_along_axis(centres, _nearest(many.color, centres)[:, :, None], axis=1)
    gap = chosen - many.color
    inertia = (many.sums[:, :, 3] * (gap * gap).sum(axis=2)).sum(axis=1)
    best = inertia.reshape(regions, STARTS).argmin(axis=1)
    return np.asarray(centres.reshape(regions, STARTS, COLORS, 3)[np.arange(regions), best])


def _refined(cells: _Cells, centres: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """Rounds of k-means until nothing moves; (P, 3, 3) -> (P, 3, 3)."""
    before: np.ndarray | None = None
    for _ in range(rounds):
        nearest = _nearest(cells.color, centres)
        if before is not None and np.array_equal(nearest, before):
            break
        before = nearest
        total = _totals(cells, nearest)
        count = total[:, :, 3:]
        centres = np.where(count > 0, total[:, :, :3] / np.maximum(count, 1.0), centres)
    return centres


def _totals(cells: _Cells, nearest: np.ndarray) -> np.ndarray:
    """Sums of the cells of each centre; (P, M) -> (P, 3, 4)."""
    mine = nearest[:, None, :] == np.arange(COLORS)[None, :, None]  # (P, 3, M)
    return np.asarray(mine.astype(np.float32) @ cells.sums)


def _starts(x: np.ndarray, w: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """First centres: each drawn with probability weight x squared distance to the last ones.

    Shapes:  (P, M, 3), (P, M) -> (P, 3, 3)
    """
    chance = w
    far = np.full(w.shape, np.inf, dtype=np.float32)
    centres = np.empty((len(x), COLORS, 3), dtype=np.float32)
    for c in range(COLORS):
        total = np.cumsum(chance, axis=1)
        mark = rng.random((len(x), 1)) * total[:, -1:]
        pick = np.minimum((total <= mark).sum(axis=1), x.shape[1] - 1)
        pick = np.where(total[:, -1] > 0, pick, 0)  # every colour is a centre already
        centres[:, c] = np.take_along_axis(x, pick[:, None, None], axis=1)[:, 0]
        gap = x - centres[:, c][:, None]
        far = np.minimum(far, np.einsum("pmk,pmk->pm", gap, gap))
        chance = w * far
    return centres


def _nearest(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Place of the nearest centre; (P, M, 3), (P, C, 3) -> (P, M)."""
    # |x - c|^2 without its constant part |x|^2
    score = x @ centres.transpose(0, 2, 1) - 0.5 * (centres * centres).sum(axis=2)[:, None]
    first, second, third = score[:, :, 0], score[:, :, 1], score[:, :, 2]
    # argmax over an axis of three is several times slower
    best = (second > first).astype(np.int8)
    best[third > np.maximum(first, second)] = 2
    return np.asarray(best)


def hsv_of(rgb: np.ndarray) -> np.ndarray:
    """Hue 0..360, saturation 0..1, value 0..1; (..., 3) uint8 -> (..., 3) float64."""
    r, g, b = np.moveaxis(rgb.astype(np.float64) / 255.0, -1, 0)
    top, low = np.maximum(np.maximum(r, g), b), np.minimum(np.minimum(r, g), b)
    span = top - low
    safe = np.where(span > 0, span, 1.0)
    hue = np.where(
        top == r, (g - b) / safe % 6, np.where(top == g, (b - r) / safe + 2, (r - g) / safe + 4)
    )
    hue = np.where(span > 0, hue * 60.0 % 360.0, 0.0)
    return np.stack([hue, np.where(top > 0, span / np.where(top > 0, top, 1.0), 0.0), top], axis=-1)


# --- The colour stage: stored pictures without colours -> rows of the `colors` table.
#
# Incremental like embedding: a second run does only what is new, a kill costs at most one
# batch, and a picture that cannot be read is counted and left for the next run.

COMMIT_ROWS = 2048 * REGIONS * COLORS
COMMIT_SECONDS = 60.0
WINDOW = 64  # pictures decoded ahead


@dataclass
class ColorReport:
    """What a run did. Counts: coloured, already, failed (and pending, for a dry run);
    `problems` holds the first few failures in words."""

    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def color_pending(
    layout: Layout,
    settings: Settings,
    *,
    dry_run: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> ColorReport:
    """Find the dominant colours of every stored picture that has none yet, or of as many as
    are done when `is_over` says that time is up.

    The caller holds the data root's lock, but for a dry run.

    Errors:  InputError when the catalog cannot be read or written
    """
    started = time.perf_counter()
    catalog = Catalog(layout)
    pending, already = _pending(catalog)
    pending = pending[:limit]
    report = ColorReport({"already": already})
    if dry_run:
        report.counts["pending"] = len(pending)
        return report
    report.counts |= {"coloured": 0, "failed": 0}
    limits = settings.decode.limits
    batch: list[dict[str, Any]] = []
    last = time.monotonic()

    def commit() -> None:
        catalog.append("colors", batch)
        report.counts["coloured"] += len(batch) // (REGIONS * COLORS)
        batch.clear()

    jobs = in_order(lambda job: _palette(layout.picture(job[1]), job[0], limits), pending, WINDOW)
    try:
        for done, ((picture_id, file), palette) in enumerate(jobs, 1):
            if isinstance(palette, PictureError):
                report.counts["failed"] += 1
                if len(report.problems) < 10:
                    report.problems.append(f"{file}: {palette.message}")
            else:
                batch += color_rows(picture_id, palette)
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


def _pending(catalog: Catalog) -> tuple[list[tuple[str, str]], int]:
    """(picture_id, file) of stored pictures without colours, and how many have them."""
    known = set(catalog.read("colors", ["picture_id"])["picture_id"].unique().to_pylist())
    rows = catalog.read("pictures", ["picture_id", "file", "status"]).to_pylist()
    stored = {row["picture_id"]: row["file"] for row in rows
              if row["status"] == "stored" and row["file"] is not None}  # fmt: skip
    pending = sorted(item for item in stored.items() if item[0] not in known)
    return pending, len(stored) - len(pending)


def _palette(path: Path, picture_id: str, limits: PictureLimits) -> Palette | PictureError:
    try:
        data = stored_bytes(path, picture_id)
        return picture_palette(decode_picture(data, limits, target_px=SIDE_PX))
    except PictureError as error:
        return error


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
