"""The colour stage: stored pictures without colours -> rows of the `colors` table.

Incremental like embedding: a second run does only what is new, a kill costs at most one
batch, and a picture that cannot be read is counted and left for the next run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.ahead import in_order
from indexer.palette import COLORS, REGIONS, SIDE_PX, Palette, picture_palette
from schemas.catalog import Catalog
from schemas.layout import Layout
from schemas.pictures import PictureError, PictureLimits, Reason, decode_picture, picture_id_of
from schemas.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

COMMIT_PICTURES = 2048
COMMIT_SECONDS = 60.0
WINDOW = 64  # pictures decoded ahead
Progress = Callable[[int, int], None]


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
    batch: list[tuple[str, Palette]] = []
    last = time.monotonic()

    def commit() -> None:
        catalog.append("colors", color_rows(batch))
        report.counts["coloured"] += len(batch)
        batch.clear()

    jobs = in_order(lambda job: _palette(layout.picture(job[1]), job[0], limits), pending, WINDOW)
    try:
        for done, ((picture_id, file), palette) in enumerate(jobs, 1):
            if isinstance(palette, PictureError):
                report.counts["failed"] += 1
                if len(report.problems) < 10:
                    report.problems.append(f"{file}: {palette.message}")
            else:
                batch.append((picture_id, palette))
            if len(batch) >= COMMIT_PICTURES or time.monotonic() - last > COMMIT_SECONDS:
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
    stored: dict[str, str] = {}
    pictures = catalog.read("pictures", ["picture_id", "file", "status"])
    for picture_id, file, status in zip(
        *(pictures[name].to_pylist() for name in pictures.column_names), strict=True
    ):
        if status == "stored" and file is not None:
            stored[picture_id] = file
    pending = sorted((one, file) for one, file in stored.items() if one not in known)
    return pending, len(stored) - len(pending)


def _palette(path: Path, picture_id: str, limits: PictureLimits) -> Palette | PictureError:
    try:
        data = path.read_bytes()
    except OSError as error:
        return PictureError(Reason.STORE, f"the stored file is gone ({error.strerror})")
    if picture_id_of(data) != picture_id:
        return PictureError(Reason.STORE, "the stored file was changed")
    try:
        return picture_palette(decode_picture(data, limits, target_px=SIDE_PX))
    except PictureError as error:
        return error


def color_rows(palettes: Sequence[tuple[str, Palette]]) -> pa.Table:
    """Rows of the `colors` table, 18 for each picture.

    Shapes:  N palettes -> 18 N rows
    """
    import pyarrow as pa

    count, each = len(palettes), REGIONS * COLORS
    columns: dict[str, Any] = {
        "picture_id": np.repeat([name for name, _ in palettes], each) if count else [],
        "region": np.tile(np.repeat(np.arange(REGIONS), COLORS), count),
        "rank": np.tile(np.arange(COLORS), REGIONS * count),
    }
    rgb = np.asarray([p.rgb for _, p in palettes], dtype=np.int32).reshape(-1, 3)
    hsv = np.asarray([p.hsv for _, p in palettes], dtype=np.float64).reshape(-1, 3)
    columns |= {name: rgb[:, c] for c, name in enumerate("rgb")}
    columns |= {name: hsv[:, c] for c, name in enumerate("hsv")}
    columns["share"] = np.asarray([p.share for _, p in palettes], dtype=np.float64).ravel()
    return pa.table({name: pa.array(values) for name, values in columns.items()})
