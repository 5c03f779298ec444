"""Slices of an episode joined to one strip, and the strip cut band by band.

An episode arrives as pictures cut anywhere, through drawings too. They are laid one under the
other in the order of their names. Only a band of the strip is held in memory at a time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.panels.cut import Cut, CutOptions, LeftOut, Panel, cut_page
from indexer.panels.order import Box
from schemas.images import PictureError, PictureLimits, decode_picture, inspect_picture, read_capped

if TYPE_CHECKING:
    from PIL import Image

BAND_WIDTHS = 8
"""A band is cut when it is so many times as tall as wide, if a gutter allows it."""

MOST_WIDTHS = 20
"""Without any gutter a strip is cut after so many widths."""

TAIL_PX = 2500
"""Rows of the strip so far in which the first rows of the next slice are looked for."""


@dataclass(frozen=True)
class Slice:
    """Where a slice lies in its strip; pixels of the strip."""

    path: Path
    y: int
    height: int
    scale: float
    """Width of the strip by the width of the slice."""
    skipped: int
    """Rows at its top that the slice before it shows already."""


def _width(path: Path, limits: PictureLimits) -> int:
    return inspect_picture(read_capped(path, limits), limits).width_px


def _decoded(path: Path, limits: PictureLimits) -> Image.Image:
    return decode_picture(read_capped(path, limits), limits)


@dataclass
class Strip:
    """Slices of an episode, or a single page: joined and cut while they are read.

    `width_of` and `decode` say how a slice is read, where that is not a file.

    Once the panels have been taken, `slices` says where each picture lies, `left_out` what was
    drawn but is no panel, `notes` what had to be done, and `failed` what could not be read.
    """

    paths: Sequence[Path]
    limits: PictureLimits
    slices: list[Slice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    width: int = 0
    height: int = 0
    width_of: Callable[[Path, PictureLimits], int] = _width
    decode: Callable[[Path, PictureLimits], Image.Image] = _decoded

    def __post_init__(self) -> None:
        widths: dict[Path, int] = {}
        for path in self.paths:
            try:
                widths[path] = self.width_of(path, self.limits)
            except PictureError as error:
                self._fail(path, error)
        if widths:
            self.width = Counter(widths.values()).most_common(1)[0][0]
        self.paths = list(widths)
        self.notes += _missing([path.stem for path in self.paths])

    def _fail(self, path: Path, error: PictureError) -> None:
        self.failed[path.name] = error.message
        self.notes.append(f"{path.name} {error.message}: the strip goes on without it")

    def panels(
        self, options: CutOptions, seen: Callable[[np.ndarray], None] | None = None
    ) -> Iterator[CutPanel]:
        """The panels in reading order; `seen` gets the rows of the strip as they come."""
        rows = self._rows()
        if seen is not None:
            rows = _watched(rows, seen)
        yield from _cut(rows, options, self.left_out, self.notes)

    def _rows(self) -> Iterator[np.ndarray]:
        """The rows of each slice that are new, (N, width, 3) uint8, from the top."""
        import cv2

        last = np.empty((0, self.width, 3), np.uint8)
        above = row_marks(last)
        usual = 0
        for path in self.paths:
            try:
                decoded = self.decode(path, self.limits)
            except PictureError as error:
                self._fail(path, error)
                continue
            rows = np.asarray(decoded)
            scale = self.width / rows.shape[1]
            if scale != 1:
                size = (self.width, max(1, round(rows.shape[0] * scale)))
                method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
                self.notes.append(
                    f"{path.name} is {rows.shape[1]} px wide, not {self.width}: scaled"
                )
                rows = cv2.resize(rows, size, interpolation=method)
            marks = row_marks(rows)
            skipped = overlap(above, marks, usual)
            usual = skipped if 0 < skipped < len(rows) else usual
            if skipped == len(rows):
                self.notes.append(f"{path.name} repeats what is above it: left out")
            elif skipped:
                self.notes.append(f"{path.name} repeats {skipped} rows of the slice above it")
            rows = rows[skipped:]
            self.slices.append(Slice(path, self.height, len(rows), scale, skipped))
            if not len(rows):
                continue
            if not skipped:
                rows = _without_seams(last, rows)
            self.height += len(rows)
            above = np.concatenate([above, marks[skipped:]])[-TAIL_PX:]
            last = rows[-2:].copy()
            yield rows

    def in_slices(self, box: Box) -> list[tuple[Slice, Box]]:
        """The parts of a box of the strip in its slices, in pixels of those."""
        x, y, w, h = box
        parts: list[tuple[Slice, Box]] = []
        for one in self.slices:
            top, bottom = max(y, one.y), min(y + h, one.y + one.height)
            if top < bottom:
                corners = (x, top - one.y + one.skipped, w, bottom - top)
                left, upper, width, height = (round(value / one.scale) for value in corners)
                parts.append((one, (left, upper, width, height)))
        return parts


def _missing(stems: Sequence[str]) -> list[str]:
    """A note when the numbers of the names have a hole."""
    found = [re.fullmatch(r"(.*?)(\d+)(\D*)", stem) for stem in stems]
    if len(stems) < 3 or not all(found):
        return []
    if len({(match[1], match[3]) for match in found if match}) > 1:
        return []
    numbers = [int(match[2]) for match in found if match]
    holes = sorted(set(range(min(numbers), max(numbers))) - set(numbers))
    if not holes or len(holes) > len(numbers) // 3:
        return []
    return [f"slices seem to be missing: {', '.join(map(str, holes))}"]


def row_marks(rows: np.ndarray) -> np.ndarray:
    """What a row is recognised by, (N, 96): its colours in 32 places."""
    import cv2

    if not len(rows):
        return np.empty((0, 96), np.float32)
    across = max(32, rows.shape[1] // 32 * 32)  # a whole number of columns for each place is faster
    small = cv2.resize(rows[:, :across], (32, len(rows)), interpolation=cv2.INTER_AREA)
    return small.reshape(len(rows), 96).astype(np.float32)


def overlap(tail: np.ndarray, head: np.ndarray, usual: int = 0) -> int:
    """How many rows at the top of a slice the rows above it end with; 0 where none can be told.

    Where there is too little drawn to tell, the `usual` number is taken if nothing speaks
    against it.

    Shapes:  row marks (N, 96) and (M, 96)
    """
    import cv2

    candidates: list[int] = []
    drawn = np.flatnonzero(head[:400].std(axis=1) > 12)
    first = int(drawn[0]) if len(drawn) else len(head)
    sample = head[first : first + 16]
    places = len(tail) - len(sample) + 1
    if len(sample) == 16 and places > 0:
        whole, part = (np.ascontiguousarray(marks[:, ::3]) for marks in (tail, sample))
        difference = cv2.matchTemplate(whole, part, cv2.TM_SQDIFF).ravel()
        candidates = [len(tail) - int(place) + first for place in np.argsort(difference)[:3]]
    for rows in (*candidates, usual):
        shared = min(rows, len(head))
        if not 16 <= rows <= len(tail):
            continue
        error = np.abs(tail[len(tail) - rows :][:shared] - head[:shared]).mean(axis=1)
        # What looks the same a few rows on tells nothing of where it lies.
        moved = np.abs(head[8:shared] - head[: shared - 8]).mean() if shared > 8 else 0.0
        if error.max() < 8 and (rows == usual or 3 * error.mean() < moved):
            return shared
    return 0


def _without_seams(above: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows without lines of one pixel and one colour where slices were cut out of the strip."""
    if len(rows) < 4 or len(above) < 2:
        return rows
    edges = {0: (rows[1], above[-2]), -1: (rows[-2], rows[-3])}
    for at, (near, far) in edges.items():
        line = rows[at].astype(np.float32)
        change = np.abs(line - near).mean()
        if (
            line.std() < 6
            and change > 20
            and np.abs(near - far.astype(np.float32)).mean() < change / 2
        ):
            rows = rows.copy()
            rows[at] = near
    return rows


def runs_on(above: np.ndarray, below: np.ndarray) -> bool:
    """Whether one picture is the slice above another: a drawing runs on from its last rows to the
    first of the next, or the next repeats some of them.

    Shapes:  (N, W, 3), (M, W, 3) uint8
    """
    if min(len(above), len(below)) < 3:
        return False
    return continues(above, below) or overlap(row_marks(above[-TAIL_PX:]), row_marks(below)) > 0


def continues(above: np.ndarray, below: np.ndarray) -> bool:
    """Whether a drawing runs on from the last rows of one picture to the first of the next."""
    if above.shape[1] != below.shape[1]:
        return False
    pairs = [(above[-1 - k].astype(np.float32), below[k].astype(np.float32)) for k in (0, 1)]
    return any(
        min(last.std(), first.std()) > 12 and float(np.abs(last - first).mean()) < 25
        for last, first in pairs
    )


@dataclass(frozen=True)
class CutPanel:
    """A panel of a strip with its pixels, (h, w, 3) uint8."""

    panel: Panel
    pixels: np.ndarray


def _watched(
    rows: Iterator[np.ndarray], seen: Callable[[np.ndarray], None]
) -> Iterator[np.ndarray]:
    for block in rows:
        seen(block)
        yield block


def _cut(
    rows: Iterable[np.ndarray], options: CutOptions, left_out: list[LeftOut], notes: list[str]
) -> Iterator[CutPanel]:
    """Cut a strip of any height while its rows arrive, panel by panel in reading order."""
    waiting: list[np.ndarray] = []
    base = 0
    wanted = 0
    for block in _bands(rows):
        waiting.append(block)
        width = block.shape[1]
        if sum(map(len, waiting)) < max(wanted, BAND_WIDTHS * width):
            continue
        held = np.concatenate(waiting)
        while len(held) >= max(wanted, BAND_WIDTHS * width):
            cut = cut_page(held, options, top=base == 0, bottom=False)
            line = _line(cut, len(held), width)
            if line is None and len(held) < MOST_WIDTHS * width:
                wanted = len(held) + BAND_WIDTHS * width // 2
                break
            if line is None:
                line = len(held)
                notes.append(f"no gutter in {line:,} rows: cut at row {base + line:,}")
            yield from _above(cut, line, base, held, left_out)
            held, base, wanted = held[line:], base + line, 0
        waiting = [held]
    if waiting and len(held := np.concatenate(waiting)):
        cut = cut_page(held, options, top=base == 0, bottom=True)
        panels, advertisement = cut.panels, list[LeftOut]()
        if base + len(held) > 3 * held.shape[1]:
            panels, advertisement = _advertisement(panels, held.shape[1])
        left_out += [_moved(one, base) for one in advertisement]
        yield from _above(Cut(panels, cut.left_out), len(held), base, held, left_out)


def _bands(rows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows in blocks of no more than a band: a slice may be a whole strip."""
    for block in rows:
        step = BAND_WIDTHS * block.shape[1]
        for top in range(0, len(block), step):
            yield block[top : top + step]


def _line(cut: Cut, height: int, width: int) -> int | None:
    """A row between panels above which everything is settled."""
    boxes = [panel.box for panel in cut.panels] + [one.box for one in cut.left_out]
    spans = sorted((y, y + h) for _, y, _, h in boxes)
    end = 0
    best = None
    for start, stop in spans:
        if start >= end and start > 0:
            best = (end + start) // 2
        end = max(end, stop)
    if end + width < height:
        best = max(end, height - width // 2)
    return best or None


def _above(
    cut: Cut, line: int, base: int, held: np.ndarray, left_out: list[LeftOut]
) -> Iterator[CutPanel]:
    left_out += [_moved(one, base) for one in cut.left_out if one.box[1] < line]
    for panel in cut.panels:
        x, y, w, h = panel.box
        if y >= line:
            continue
        polygon = tuple((px, py + base) for px, py in panel.polygon)
        moved = Panel((x, y + base, w, h), panel.border, panel.confidence, polygon)
        yield CutPanel(moved, held[y : y + h, x : x + w])


def _moved(one: LeftOut, rows: int) -> LeftOut:
    x, y, w, h = one.box
    return LeftOut((x, y + rows, w, h), one.what)


def _advertisement(panels: list[Panel], width: int) -> tuple[list[Panel], list[LeftOut]]:
    """Without the small pictures of equal height side by side that end a strip: other titles."""
    if not panels:
        return panels, []
    last = max(panels, key=lambda panel: panel.box[1] + panel.box[3]).box
    row = [
        panel
        for panel in panels
        if panel.box[2] < 0.35 * width
        and abs(panel.box[1] - last[1]) < 0.1 * last[3]
        and abs(panel.box[3] - last[3]) < 0.1 * last[3]
    ]
    if len(row) < 3:
        return panels, []
    left = min(panel.box[0] for panel in row)
    right = max(panel.box[0] + panel.box[2] for panel in row)
    box = (left, last[1], right - left, last[3])
    return [panel for panel in panels if panel not in row], [LeftOut(box, "advertisement")]
