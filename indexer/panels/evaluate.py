"""How well panels are found, against true boxes.

One-to-one matching, best pairs first; what lies by half in an ignored region and is not matched
does not count. Figures are shares from 0 to 1.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexer.panels.cut import CutOptions
from indexer.panels.order import Box
from indexer.panels.stitch import Strip
from schemas.errors import InputError
from schemas.images import PictureLimits
from schemas.progress import Progress


@dataclass
class PageScore:
    """Counts of one page."""

    page: str
    true: int = 0
    found: int = 0
    matched_50: int = 0
    matched_90: int = 0
    pairs: int = 0
    pairs_in_order: int = 0
    split: int = 0
    merged: int = 0
    cuts: int = 0
    cuts_through: int = 0
    seconds: float = 0.0
    """Of one core, reading included."""
    megapixels: float = 0.0
    problem: str = ""

    @property
    def f1_50(self) -> float:
        return _f1(self.matched_50, self.true, self.found)


@dataclass(frozen=True)
class TruePage:
    """A page of a truth file: its pictures, size, panels in order, and what is not counted."""

    name: str
    paths: list[Path]
    width: int
    height: int
    rtl: bool
    boxes: list[Box]
    ignored: list[Box] = field(default_factory=list)


def read_truth(path: Path) -> list[TruePage]:
    """The pages of a truth file (docs/panels.md has the format).

    Errors:  InputError when it cannot be read or names files outside its own folder
    """
    try:
        body = json.loads(path.read_text("utf-8"))
        return [_true_page(one, path.parent) for one in body["pages"]]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not a truth file ({error!r})", "docs/panels.md has the format."
        ) from error


def _true_page(one: dict[str, Any], folder: Path) -> TruePage:
    names = [part["file"] for part in one["files"]] if "files" in one else [one["file"]]
    paths = [(folder / name).resolve() for name in names]
    outside = [
        name
        for name, file in zip(names, paths, strict=True)
        if folder.resolve() not in file.parents
    ]
    if outside:
        raise InputError(f"the truth file names {outside[0]}, outside its own folder")
    return TruePage(
        str(one["page"]),
        paths,
        int(one["width"]),
        int(one["height"]),
        one.get("direction") == "rtl",
        [_box(box) for box in one["boxes"]],
        [_box(box) for box in one.get("ignore") or ()],
    )


def _box(values: Sequence[float]) -> Box:
    x, y, w, h = (round(float(value)) for value in values)
    return x, y, w, h


def evaluate(
    pages: Sequence[TruePage], limits: PictureLimits, progress: Progress | None = None
) -> Iterator[PageScore]:
    """Cut every page of a truth file and score it; a page that cannot be read finds nothing."""
    for number, true in enumerate(pages, 1):
        strip = Strip(true.paths, limits)
        started = time.process_time()
        boxes = [one.panel.box for one in strip.panels(CutOptions(rtl=true.rtl))]
        seconds = time.process_time() - started
        if strip.height and (strip.width, strip.height) != (true.width, true.height):
            across, down = true.width / strip.width, true.height / strip.height
            boxes = [_box((x * across, y * down, w * across, h * down)) for x, y, w, h in boxes]
        score = score_page(true, boxes, row_cuts(boxes) if true.height > 3 * true.width else ())
        score.seconds = seconds
        score.megapixels = strip.width * strip.height / 1e6
        score.problem = "; ".join(f"{name} {why}" for name, why in strip.failed.items())
        if progress is not None:
            progress(number, len(pages))
        yield score


def row_cuts(boxes: Sequence[Box]) -> list[int]:
    """The rows that part a strip: in the middle of each gap between panels."""
    cuts, end = [], 0
    for _, y, _, h in sorted(boxes, key=lambda box: box[1]):
        if y > end > 0:
            cuts.append((y + end) // 2)
        end = max(end, y + h)
    return cuts


def score_page(true: TruePage, boxes: Sequence[Box], cuts: Sequence[int] = ()) -> PageScore:
    """Score the boxes found on a page, in their order; `cuts` are rows where a strip was cut."""
    first = _matched(true.boxes, boxes, 0.5)
    taken = set(first.values())
    boxes = [
        box
        for k, box in enumerate(boxes)
        if k in taken
        or not any(_common(box, area) >= 0.5 * box[2] * box[3] for area in true.ignored)
    ]
    half = _matched(true.boxes, boxes, 0.5)
    places = [half[k] for k in sorted(half)]
    in_order = [a < b for i, a in enumerate(places) for b in places[i + 1 :]]
    return PageScore(
        true.name,
        true=len(true.boxes),
        found=len(boxes),
        matched_50=len(half),
        matched_90=len(_matched(true.boxes, boxes, 0.9)),
        pairs=len(in_order),
        pairs_in_order=sum(in_order),
        split=sum(_is_split(box, boxes) for box in true.boxes),
        merged=sum(
            sum(_common(box, one) >= 0.6 * one[2] * one[3] for one in true.boxes) > 1
            for box in boxes
        ),
        cuts=len(cuts),
        cuts_through=sum(any(y + 4 < cut < y + h - 4 for _, y, _, h in true.boxes) for cut in cuts),
    )


def summary(pages: Sequence[PageScore]) -> dict[str, float | int | None]:
    """The figures over all pages."""

    def total(name: str) -> float:
        return float(sum(getattr(page, name) for page in pages))

    def share(part: str, whole: str) -> float | None:
        return total(part) / total(whole) if total(whole) else None

    figures: dict[str, float | int | None] = {
        "pages": len(pages),
        "panels": int(total("true")),
        "boxes": int(total("found")),
    }
    for level in ("50", "90"):
        figures[f"precision_{level}"] = share(f"matched_{level}", "found")
        figures[f"recall_{level}"] = share(f"matched_{level}", "true")
        figures[f"f1_{level}"] = _f1(total(f"matched_{level}"), total("true"), total("found"))
    return figures | {
        "order": share("pairs_in_order", "pairs"),
        "split": share("split", "true"),
        "merged": share("merged", "true"),
        "cuts_through": share("cuts_through", "cuts"),
        "seconds_per_page": total("seconds") / len(pages) if pages else None,
        "megapixels_per_second": share("megapixels", "seconds"),
        "failed": sum(bool(page.problem) for page in pages),
    }


def _f1(matched: float, true: float, found: float) -> float:
    return 2 * matched / (true + found) if true + found else 1.0


def _common(a: Box, b: Box) -> int:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0


def _iou(a: Box, b: Box) -> float:
    common = _common(a, b)
    return common / (a[2] * a[3] + b[2] * b[3] - common) if common else 0.0


def _matched(true: Sequence[Box], found: Sequence[Box], least: float) -> dict[int, int]:
    """True boxes and the boxes found for them, by index."""
    pairs = [(_iou(a, b), -i, -k) for i, a in enumerate(true) for k, b in enumerate(found)]
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for value, i, k in sorted(pairs, reverse=True):
        if value < least:
            break
        if -i not in matched and -k not in taken:
            matched[-i] = -k
            taken.add(-k)
    return matched


def _is_split(true: Box, boxes: Sequence[Box]) -> bool:
    whole = true[2] * true[3]
    parts = [
        box
        for box in boxes
        if 0.02 * whole < box[2] * box[3] < 0.8 * whole
        and _common(true, box) >= 0.6 * box[2] * box[3]
    ]
    return len(parts) > 1
