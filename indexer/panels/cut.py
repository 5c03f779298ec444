"""Pages and pieces of strips into panels.

What is neither ground nor balloon falls into connected pieces. A piece is parted where a
straight gutter runs through it that lettering or a balloon bridges, or where a straight edge
runs right across it. Closed frames, such as insets, are taken first. Pieces of ink that no
border holds together are grouped by their distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np

from indexer.panels.ground import Layers, find_layers, most
from indexer.panels.order import Box, reading_order

MIN_SIZE = 0.07
"""Shortest side of a panel, as a share of the shorter side of the page."""

STRIP_TALL = 5
"""A picture that is more times as tall as wide is a strip even when it shows no gutter."""

FULL = 0.84
"""Share of a panel, between its own corners, that is drawn: less is a loose drawing, whose own white
looks like gutters."""

EDGE = 15
"""Levels between two sides of an edge."""


@dataclass(frozen=True)
class Panel:
    """One panel of a page or strip."""

    box: Box
    border: str
    """What bounds it: `gutter`, `line`, `frame`, `ink` (nothing but its ink), `page`."""
    confidence: float
    polygon: tuple[tuple[int, int], ...] = ()
    """Its corners when it is not a rectangle."""


@dataclass(frozen=True)
class LeftOut:
    """Something drawn that is no panel."""

    box: Box
    what: str
    """`lettering`, `balloon` or `advertisement`."""


@dataclass(frozen=True)
class Cut:
    panels: list[Panel]
    """In reading order."""
    left_out: list[LeftOut]


@dataclass(frozen=True)
class CutOptions:
    rtl: bool = False
    min_size: float = MIN_SIZE
    keep_balloons: bool = False
    """Widen panels to the balloons that stick out of them."""


@dataclass
class _Piece:
    """A connected piece, or several: corners, how full the box is, what bounds it."""

    x0: int
    y0: int
    x1: int
    y1: int
    fill: float
    border: str = "gutter"
    polygon: tuple[tuple[int, int], ...] = ()
    largest: int = 0
    """The longer side of the largest of several pieces."""

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def side(self) -> int:
        return min(self.width, self.height)

    @property
    def area(self) -> int:
        return self.width * self.height

    @property
    def solid(self) -> bool:
        return self.fill > 0.7

    def share_in(self, other: _Piece) -> float:
        """The share of this box that lies in another."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return width * height / self.area if width > 0 and height > 0 else 0.0


def cut_page(
    image: np.ndarray, options: CutOptions = CutOptions(), top: bool = True, bottom: bool = True
) -> Cut:
    """Cut a page, or a piece of a strip whose ends `top` and `bottom` may be inside it.

    Shapes:  image (H, W, 3) uint8
    """
    height, width = image.shape[:2]
    if min(height, width) < 4:
        return Cut([], [])
    layers = find_layers(image, top, bottom)
    page = _Page(layers, options)
    kept: list[_Piece] = []
    left_out: list[_Piece] = []
    for piece in _grouped(page.frames() + page.pieces(), page.unit, page.least):
        if _is_panel(piece, page.unit, page.least):
            kept.append(piece)
        elif max(piece.width, piece.height) >= 0.02 * page.unit:
            left_out.append(piece)
    for piece in [piece for piece in kept if not piece.solid]:
        # What is left of lettering and lines round panels.
        if sum(piece.share_in(other) for other in kept if other is not piece) > 0.3:
            kept.remove(piece)
            left_out.append(piece)
    if not kept and left_out and top and bottom:
        kept = [_Piece(0, 0, page.width, page.height, 0.2, "page")]
    balloons = page.balloons_outside(kept)
    panels = [_panel(piece, layers.step, width, height) for piece in kept]
    order = reading_order([panel.box for panel in panels], width, height, options.rtl)
    return Cut(
        [panels[i] for i in order],
        [
            LeftOut(_box(piece, layers.step, width, height), what)
            for pieces, what in ((left_out, "lettering"), (balloons, "balloon"))
            for piece in pieces
        ],
    )


def is_one_drawing(panels: Sequence[Panel], width: int, height: int) -> bool:
    """Whether a picture shows one drawing that is merely tall: it is not as tall as strips are, and
    there are no two panels with space between them."""
    gap = max(1, 0.004 * width)
    pairs = combinations([panel.box for panel in panels], 2)
    return height <= STRIP_TALL * width and not any(are_apart(*pair, gap) for pair in pairs)


def are_apart(one: Box, other: Box, gap: float) -> bool:
    """Whether two boxes have space between them."""
    return any(
        a[axis] + a[axis + 2] + gap <= b[axis]
        for a, b in ((one, other), (other, one))
        for axis in (0, 1)
    )


def _is_panel(piece: _Piece, unit: int, least: float) -> bool:
    """Whether a piece is large enough: ink more than a full panel, and not all of it small."""
    if piece.solid:
        return piece.side >= least
    return piece.side >= max(least, 0.15 * unit) and (
        piece.border != "ink" or piece.largest >= 0.15 * unit
    )


class _Page:
    """The masks of a page, and how panels are found in them."""

    def __init__(self, layers: Layers, options: CutOptions) -> None:
        self.height, self.width = layers.ground.shape
        self.unit = min(self.height, self.width)
        self.least = max(options.min_size * self.unit, 4.0)
        self.options = options
        self.ground = layers.ground
        self.balloons = layers.balloons
        self.drawn = ((layers.ground | layers.balloons) == 0).astype(np.uint8)
        self.image = image = layers.image
        # Where a row differs from the next one, and a column from the next one.
        import cv2

        self.edges = (
            (most(cv2.absdiff(image[1:], image[:-1])) > EDGE).astype(np.uint8),
            (most(cv2.absdiff(image[:, 1:], image[:, :-1])) > EDGE).astype(np.uint8),
        )

    def frames(self) -> list[_Piece]:
        """Closed rectangular frames; what is in them is taken out of what is drawn."""
        import cv2

        run = max(15, int(0.1 * self.unit))
        rows = np.zeros_like(self.ground)
        columns = np.zeros_like(rows)
        for lines, edges, size in (
            (rows, self.edges[0], (1, run)),
            (columns, self.edges[1], (run, 1)),
        ):
            lines[: edges.shape[0], : edges.shape[1]] = cv2.morphologyEx(
                edges, cv2.MORPH_OPEN, np.ones(size, np.uint8)
            )
        hidden = self.balloons
        found = []
        least = max(0.12 * self.unit, self.least)
        for x, y, w, h in _boxes(rows | columns):
            if min(w, h) < least or w * h > 0.9 * rows.size:
                continue
            sides = (
                (rows[y : y + 3, x : x + w], hidden[y : y + 3, x : x + w], 0),
                (rows[y + h - 3 : y + h, x : x + w], hidden[y + h - 3 : y + h, x : x + w], 0),
                (columns[y : y + h, x : x + 3], hidden[y : y + h, x : x + 3], 1),
                (columns[y : y + h, x + w - 3 : x + w], hidden[y : y + h, x + w - 3 : x + w], 1),
            )
            seen = [float(line.any(axis).mean()) for line, _, axis in sides]
            whole = [float((line | over).any(axis).mean()) for line, over, axis in sides]
            if min(whole) > 0.9 and min(seen) > 0.5:
                x0, y0, x1, y1 = (int(value) for value in (x, y, x + w, y + h))
                gap = self.ground[y0:y1, x0:x1]
                own = 1 - gap
                frame = self._with_border(_Piece(x0, y0, x1, y1, min(seen), "frame"))
                if not (
                    self._at_gutter(own, gap)
                    or self._at_slant(own, gap)
                    or self._at_edge(own, gap, x0, y0)
                ):
                    found.append(frame)
        return self._outermost(found)

    def _outermost(self, frames: list[_Piece]) -> list[_Piece]:
        """Of frames in frames those that are panels: no borders round the page, one of a double
        line, and of a mount what is in it."""
        frames.sort(key=lambda frame: -frame.area)
        kept: list[_Piece] = []
        for frame in frames:
            within = [f for f in frames if f is not frame and f.share_in(frame) > 0.9]
            if sum(f.area for f in within if f.area < 0.5 * frame.area) > 0.5 * frame.area:
                continue  # a border round the page
            if any(frame.share_in(f) > 0.9 and frame.area > 0.5 * f.area for f in kept):
                continue
            window = np.s_[frame.y0 : frame.y1, frame.x0 : frame.x1]
            self.ground[window] = 0
            self.drawn[window] = 0
            close = [f for f in within if f.area > 0.7 * frame.area]
            kept.append(next((f for f in close if self._is_mount(frame, f)), frame))
        return kept

    def _with_border(self, frame: _Piece) -> _Piece:
        """A frame widened to the outer side of its border line."""
        reach = 3
        rows = self.drawn[:, frame.x0 : frame.x1]
        columns = self.drawn[frame.y0 : frame.y1]

        def outwards(lines: np.ndarray) -> int:
            drawn = int((lines.mean(axis=1) > 0.5).cumprod().sum())
            return drawn if drawn < reach else 0  # no line, but a picture around the frame

        return replace(
            frame,
            y0=frame.y0 - outwards(rows[max(0, frame.y0 - reach) : frame.y0][::-1]),
            y1=frame.y1 + outwards(rows[frame.y1 : frame.y1 + reach]),
            x0=frame.x0 - outwards(columns[:, max(0, frame.x0 - reach) : frame.x0][:, ::-1].T),
            x1=frame.x1 + outwards(columns[:, frame.x1 : frame.x1 + reach].T),
        )

    def _is_mount(self, outer: _Piece, inner: _Piece) -> bool:
        """Whether between two frames lies nothing but one colour, a few pixels wide."""
        ring = self.image[outer.y0 : outer.y1, outer.x0 : outer.x1]
        top, left = inner.y0 - outer.y0, inner.x0 - outer.x0
        if min(top, left) < 2:
            return False
        inside = np.zeros(ring.shape[:2], bool)
        inside[top : top + inner.height, left : left + inner.width] = True
        inside[0] = inside[-1] = inside[:, 0] = inside[:, -1] = True
        around = ring[~inside]
        return len(around) > 0 and float(np.median(np.abs(around - np.median(around, axis=0)))) < 4

    def pieces(self) -> list[_Piece]:
        """Connected pieces of what is drawn, parted at gutters and edges."""
        return list(self._parted(self.drawn, 0, 0, 0))

    def _parted(self, drawn: np.ndarray, left: int, top: int, depth: int) -> Iterator[_Piece]:
        import cv2

        _, labels, stats, _ = cv2.connectedComponentsWithStats(drawn, connectivity=8)
        for label in np.flatnonzero(stats[1:, 2:4].max(axis=1) >= 0.02 * self.unit) + 1:
            x, y, w, h, _ = (int(value) for value in stats[label])
            x0, y0 = left + x, top + y
            gap = self.ground[y0 : y0 + h, x0 : x0 + w]
            own = (labels[y : y + h, x : x + w] == label).astype(np.uint8)
            if min(w, h) < self.least:
                yield _Piece(x0, y0, x0 + w, y0 + h, _fill(own, gap))
                continue
            halves = None
            if depth < 20 and max(w, h) > 2 * self.least:
                halves = self._at_gutter(own, gap) or self._at_slant(own, gap)
                halves = halves or self._at_edge(own, gap, x0, y0)
            for half, dx, dy in halves or ():
                yield from self._parted(half, x0 + dx, y0 + dy, depth + 1)
            if halves is None:
                a, b, c, d = _sides(own)
                fill = _fill(own[b:d, a:c], gap[b:d, a:c])
                if fill < FULL:  # a loose drawing has no sides that something could stick out of
                    a, b, c, d = 0, 0, w, h
                yield _Piece(x0 + a, y0 + b, x0 + c, y0 + d, fill, polygon=_polygon(own, x0, y0))

    def _at_gutter(self, own: np.ndarray, gap: np.ndarray) -> _Halves:
        """Part a piece at the clearest gutter along its rows or columns."""
        rows = self._gutter(own, gap)
        columns = self._gutter(own.T, gap.T)
        if rows and (not columns or rows[0] <= columns[0]):
            return (own[: rows[1]], 0, 0), (own[rows[2] :], 0, rows[2])
        if columns:
            first, second = own[:, : columns[1]], own[:, columns[2] :]
            return (np.ascontiguousarray(first), 0, 0), (
                np.ascontiguousarray(second),
                columns[2],
                0,
            )
        return None

    def _gutter(self, own: np.ndarray, gap: np.ndarray) -> tuple[float, int, int] | None:
        """How much of the clearest gutter between rows is covered, its first row and its end.

        In a gutter most of what is neither balloon nor another piece is ground; on both sides,
        a few pixels on, most of it is drawn.
        """
        count, across = own.shape
        least, reach = int(self.least), max(5, self.unit // 80)
        if count < 2 * least:
            return None
        own_sum = own.sum(1, dtype=np.float32)
        gap_sum = gap.sum(1, dtype=np.float32)
        cover = own_sum / np.maximum(own_sum + gap_sum, 1)
        low = (cover < 0.55) & (gap_sum > 0.3 * across)
        low[:least] = low[count - least :] = False
        full = np.where(own_sum > 0.2 * across, cover, 0)
        best = None
        for start, end in _runs(low):
            before, after = full[max(0, start - reach) : start], full[end : end + reach]
            step = min(
                before.max() - cover[start : min(end, start + reach)].min(),
                after.max() - cover[max(start, end - reach) : end].min(),
            )
            clear = min(before.max(), after.max()) > 0.6 and step > 0.35
            covered = float(cover[start:end].min())
            if (
                clear
                and (best is None or covered < best[0])
                and _straight(gap, (start + end) // 2)
                and _are_full((own[:start], own[end:]), (gap[:start], gap[end:]))
            ):
                best = (covered, start, end)
        return best

    def _at_slant(self, own: np.ndarray, gap: np.ndarray) -> _Halves:
        """Part a piece along a slanted gutter of which a part is seen."""
        import cv2

        unit = self.unit
        side = max(5, int(0.07 * unit))
        if np.count_nonzero(gap) < side:
            return None
        thin = gap - cv2.morphologyEx(gap, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
        best: tuple[float, np.ndarray] | None = None
        for kernel in ((1, 6), (6, 1)):
            run = cv2.morphologyEx(thin, cv2.MORPH_OPEN, np.ones(kernel, np.uint8))
            outlines, _ = cv2.findContours(run, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            for outline in outlines:
                _, _, w, h = cv2.boundingRect(outline)
                if np.hypot(w, h) < 0.12 * unit:
                    continue
                points = outline[:, 0].astype(np.float32)
                line = cv2.fitLine(points, cv2.DIST_L2, 0, 0.01, 0.01).ravel()
                if np.abs(_distance(line, points[:, 0], points[:, 1])).mean() > 0.024 * unit:
                    continue
                step = _slant_step(own, gap, line, unit)
                if step > 0.35 and (best is None or step > best[0]):
                    best = (step, line)
        if best is None:
            return None
        grid_y, grid_x = np.ogrid[: own.shape[0], : own.shape[1]]
        distance = _distance(best[1], grid_x, grid_y)
        halves = [
            ((side & (own > 0)).astype(np.uint8), 0, 0) for side in (distance > 1, distance < -1)
        ]
        if min(int(half.sum()) for half, _, _ in halves) < self.least**2:
            return None
        if not _are_full([half for half, _, _ in halves], (gap, gap)):
            return None
        return halves[0], halves[1]

    def _at_edge(self, own: np.ndarray, gap: np.ndarray, x0: int, y0: int) -> _Halves:
        """Part a piece where one straight edge runs across all of it: panels without a gutter."""
        if _fill(own, gap) < 0.9:
            return None
        height, width = own.shape
        best: tuple[float, int, int] | None = None
        for axis in (0, 1):
            edges = self.edges[axis][y0 : y0 + height, x0 : x0 + width]
            visible = own[: edges.shape[0], : edges.shape[1]]
            across, total = visible.sum(1 - axis), (edges & visible).sum(1 - axis)
            share = total / np.maximum(across, 1)
            share[across < 0.5 * visible.shape[1 - axis]] = 0
            least = int(self.least)
            if len(share) <= 2 * least + 1:
                continue
            at = least + int(share[least:-least].argmax())
            if share[at] > 0.95 and (best is None or share[at] > best[0]):
                best = (float(share[at]), axis, at + 1)
        if best is None:
            return None
        _, axis, at = best
        if axis == 0:
            return (own[:at], 0, 0), (own[at:], 0, at)
        return (np.ascontiguousarray(own[:, :at]), 0, 0), (np.ascontiguousarray(own[:, at:]), at, 0)

    def balloons_outside(self, panels: list[_Piece]) -> list[_Piece]:
        """Balloons that touch no panel; those that stick out of one widen it, if so wanted."""
        outside = []
        for x, y, w, h in _boxes(self.balloons):
            balloon = _Piece(x, y, x + w, y + h, 1.0)
            owner = max(panels, key=balloon.share_in, default=None)
            if owner is None or not balloon.share_in(owner):
                outside.append(balloon)
            elif self.options.keep_balloons:
                owner.x0, owner.y0 = min(owner.x0, x), min(owner.y0, y)
                owner.x1, owner.y1 = max(owner.x1, x + w), max(owner.y1, y + h)
        return outside


def _panel(piece: _Piece, step: int, width: int, height: int) -> Panel:
    confidence = {"ink": 0.5, "page": 0.2}.get(piece.border, max(0.5, min(1.0, piece.fill)))
    polygon = tuple((x * step, y * step) for x, y in piece.polygon)
    return Panel(_box(piece, step, width, height), piece.border, round(confidence, 2), polygon)


def _box(piece: _Piece, step: int, width: int, height: int) -> Box:
    """The box of a piece in pixels of the page, `step` times as many as it was measured in."""
    x, y = piece.x0 * step, piece.y0 * step
    return x, y, min(piece.x1 * step, width) - x, min(piece.y1 * step, height) - y


def _boxes(mask: np.ndarray) -> Iterator[Box]:
    """Left, top, width and height of each connected piece of a mask."""
    import cv2

    # Of two levels: outlines, those of pieces in holes of others too, and the holes.
    outlines, inside = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for k, outline in enumerate(outlines):
        if inside[0][k][3] < 0:
            x, y, w, h = cv2.boundingRect(outline)
            yield x, y, w, h


_Half = tuple[np.ndarray, int, int]
"""The mask of a half and where it lies in the whole."""

_Halves = tuple[_Half, _Half] | None


def _fill(own: np.ndarray, gap: np.ndarray) -> float:
    drawn, empty = int(own.sum()), int(gap.sum())
    return drawn / max(1, drawn + empty)


def _are_full(halves: Sequence[np.ndarray], gaps: Sequence[np.ndarray]) -> bool:
    """Whether most of both halves is drawn, between their own corners."""
    import cv2

    for own, gap in zip(halves, gaps, strict=True):
        hull = cv2.convexHull(cv2.findNonZero(np.ascontiguousarray(own)))
        inside = cv2.fillConvexPoly(np.zeros(own.shape, np.uint8), hull, 1)
        if _fill(own, gap & inside) < FULL:
            return False
    return True


def _runs(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """Start and end of the runs of true values."""
    change = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    yield from zip(change[::2].tolist(), change[1::2].tolist(), strict=True)


def _straight(gap: np.ndarray, middle: int) -> bool:
    """Whether the ground at a row has straight borders above and below, unlike a balloon's."""
    columns = gap[:, gap[middle] > 0]
    for side in (columns[: middle + 1][::-1], columns[middle:]):
        reach = np.where(side.all(0), len(side), side.argmin(0))
        if (np.abs(reach - np.sort(reach)[len(reach) // 2]) <= 3).mean() < 0.5:
            return False
    return True


def _slant_step(own: np.ndarray, gap: np.ndarray, line: np.ndarray, unit: float) -> float:
    """How much more is drawn on both sides of a line than along it; -1 for no gutter."""
    height, width = own.shape
    vx, vy, px, py = (float(value) for value in line)
    # Of the line only the part within the piece: from where it passes the middle.
    at = (width / 2 - px) * vx + (height / 2 - py) * vy
    along = np.arange(at - (height + width) / 2, at + (height + width) / 2, 2)
    xs, ys = px + along * vx, py + along * vy

    def cover(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.rint(xs - offsets[:, None] * vy).astype(np.int32)
        y = np.rint(ys + offsets[:, None] * vx).astype(np.int32)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        at = np.where(inside, y * width + x, 0)
        drawn = (np.take(own, at) * inside).sum(axis=1)
        empty = (np.take(gap, at) * inside).sum(axis=1)
        return drawn / np.maximum(1, drawn + empty), empty / np.maximum(1, inside.sum(axis=1))

    (middle,), (empty,) = cover(np.zeros(1))
    reach = np.arange(2, int(0.06 * unit), 2)
    if middle > 0.55 or empty < 0.3 or not len(reach):
        return -1.0
    least = min(float(cover(sign * reach)[0].max()) for sign in (1, -1))
    return least - float(middle) if least > 0.6 else -1.0


def _distance(line: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distances of points from a line given as direction and point."""
    vx, vy, px, py = line
    return np.asarray((x - px) * vy - (y - py) * vx)


def _sides(own: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a piece without what sticks out of its straight sides."""
    height, width = own.shape
    columns, rows = own.max(0) > 0, own.max(1) > 0

    def side(lines: np.ndarray, seen: np.ndarray) -> int:
        count = np.bincount(lines.argmax(0)[seen])
        near = np.convolve(count, np.ones(3), "same")
        often = np.flatnonzero(near >= max(0.4 * seen.sum(), 8))
        if not len(often) or often[0] <= 2:
            return 0
        at = int(often[0] + count[often[0] : often[0] + 3].argmax())
        return at if lines[:at].mean() < 0.4 else 0  # more is a ragged border

    top, bottom = side(own, columns), height - side(own[::-1], columns)
    left, right = side(own.T, rows), width - side(own[:, ::-1].T, rows)
    if top >= bottom or left >= right or own[top:bottom, left:right].sum() < 0.85 * own.sum():
        return 0, 0, width, height
    return left, top, right, bottom


def _polygon(own: np.ndarray, x0: int, y0: int) -> tuple[tuple[int, int], ...]:
    """The corners of a piece that is not a rectangle."""
    import cv2

    contours, _ = cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.convexHull(max(contours, key=cv2.contourArea))
    if cv2.contourArea(hull) > 0.95 * own.size:
        return ()
    corners = cv2.approxPolyDP(hull, 0.01 * sum(own.shape), True)[:, 0]
    return tuple((int(x) + x0, int(y) + y0) for x, y in corners) if len(corners) <= 6 else ()


def _grouped(pieces: list[_Piece], unit: int, least: float) -> Iterator[_Piece]:
    """Panels from pieces: full ones stand alone, ink between the same gaps belongs together."""
    for group in _between_gaps(pieces, unit, least):
        whole = [piece for piece in group if piece.solid and piece.side >= least]
        if sum(piece.area for piece in whole) < 0.5 * _union(group).area:
            whole = _pictures_in_a_row(group, unit)
            if not whole:
                yield _union(group)
                continue
        kept: list[_Piece] = []
        for piece in sorted(whole, key=lambda p: -p.area):
            if piece.border == "frame" or not any(piece.share_in(other) > 0.6 for other in kept):
                kept.append(piece)
        rest = [p for p in group if p not in whole and not any(p.share_in(o) > 0.6 for o in kept)]
        yield from kept
        while rest:
            one = rest.pop()
            near = [p for p in rest if _near(one, p, 0.03 * unit)]
            if near:
                rest = [p for p in rest if p not in near] + [_union([one, *near])]
            else:
                yield one


def _between_gaps(pieces: list[_Piece], unit: int, least: float) -> Iterator[list[_Piece]]:
    """Split pieces at the widest gap that runs across all of them, again and again."""
    if len(pieces) < 2:
        yield from [pieces] if pieces else []
        return
    best: tuple[float, list[_Piece], list[_Piece]] | None = None
    for low, high in (("y0", "y1"), ("x0", "x1")):
        ordered = sorted(pieces, key=lambda p: getattr(p, low))
        ends = np.maximum.accumulate([getattr(p, high) for p in ordered])
        gaps = np.array([getattr(p, low) for p in ordered[1:]]) - ends[:-1]
        for k in np.argsort(-gaps):
            gap = gaps[k]
            if gap < 0.012 * unit or (best and gap <= best[0]):
                break
            one, two = ordered[: k + 1], ordered[k + 1 :]
            if gap >= 0.06 * unit or (
                all(_substantial(part, unit, least) for part in (one, two))
                and (
                    gap >= 0.05 * unit
                    or all(_dense(part) for part in (one, two))
                    or _side_by_side(_union(one), _union(two), unit)
                )
            ):
                best = (float(gap), one, two)
                break
    if best is None:
        yield pieces
        return
    for part in best[1:]:
        yield from _between_gaps(part, unit, least)


def _substantial(group: Sequence[_Piece], unit: int, least: float) -> bool:
    return _union(group).side >= 0.15 * unit or any(
        p.fill > 0.85 and p.side >= least for p in group
    )


def _dense(group: Sequence[_Piece]) -> bool:
    whole = _union(group)
    return whole.fill > 0.6 or sum(p.area for p in group if p.solid) > 0.5 * whole.area


def _pictures_in_a_row(group: list[_Piece], unit: int) -> list[_Piece]:
    """The large pieces of a group that are pictures of their own, with captions between them."""
    large = sorted((p for p in group if p.side >= 0.25 * unit), key=lambda p: (p.y0, p.x0))
    pairs = list(pairwise(large))
    apart = all(_side_by_side(a, b, unit) and a.share_in(b) < 0.05 for a, b in pairs)
    return large if pairs and apart else []


def _side_by_side(one: _Piece, two: _Piece, unit: int) -> bool:
    """Whether two groups of ink are large and span nearly the same, as pictures in a row do."""
    both = _union([one, two])
    across = "width" if both.height > max(one.height, two.height) else "height"
    shorter = min(getattr(one, across), getattr(two, across))
    return min(one.side, two.side) >= 0.25 * unit and shorter >= 0.7 * getattr(both, across)


def _near(a: _Piece, b: _Piece, gap: float) -> bool:
    return min(a.x1, b.x1) - max(a.x0, b.x0) > -gap and min(a.y1, b.y1) - max(a.y0, b.y0) > -gap


def _union(group: Sequence[_Piece]) -> _Piece:
    if len(group) == 1:
        return group[0]
    x0, y0 = min(p.x0 for p in group), min(p.y0 for p in group)
    x1, y1 = max(p.x1 for p in group), max(p.y1 for p in group)
    drawn = sum(p.fill * p.area for p in group)
    largest = max(p.largest or max(p.width, p.height) for p in group)
    return _Piece(x0, y0, x1, y1, drawn / max(1, (x1 - x0) * (y1 - y0)), "ink", largest=largest)
