"""What lies between the panels: the ground of a page or strip, and the balloons on it.

A page falls into smooth regions, whatever their colour: white, black, coloured or a gradient.
Those that run across the page or along its edge are ground; closed ones of one colour with
lettering inside are balloons. Everything is measured in `unit`, the shorter side of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

SMOOTH = 6
"""Levels by which the 3 x 3 pixels around a pixel of a smooth region may differ."""

NEAR = 20
"""Levels by which a pixel of the ground may differ from the ground around it."""


LEAST_UNIT = 340
"""Pages are reduced by a whole number as long as their shorter side keeps so many pixels."""


@dataclass(frozen=True)
class Layers:
    """A page reduced for measuring, (H, W, 3), and its masks, each (H, W) uint8 of 0 and 1."""

    image: np.ndarray
    step: int
    """Pixels of the page by pixels of the reduced one."""
    ground: np.ndarray
    balloons: np.ndarray


def find_layers(image: np.ndarray, top: bool = True, bottom: bool = True) -> Layers:
    """Find ground and balloons; `top` and `bottom` say which ends are ends of the page.

    Shapes:  image (H, W, 3) uint8
    """
    import cv2

    height, width = image.shape[:2]
    one_page = width // 2 if width > 1.1 * height else width
    step = max(1, min(one_page, height) // LEAST_UNIT)
    if step > 1:
        size = (-(-width // step), -(-height // step))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    seeds, balloons = _seeds(image, top, bottom)
    return Layers(image, step, _grown(image, seeds, balloons), balloons)


def _seeds(image: np.ndarray, top: bool, bottom: bool) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the regions that are ground for sure, and of balloons."""
    import cv2

    height, width = image.shape[:2]
    unit = min(width, height)
    grain = most(cv2.morphologyEx(image, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    noise = np.percentile(grain[::8, ::8], 10)  # paper and scanners have some, drawn pages none
    smooth = (grain <= min(SMOOTH + 2 * noise, 14)).astype(np.uint8)
    # A gradient may be too steep to be smooth, but each of its rows has one colour.
    some = np.ascontiguousarray(image[:, ::8])
    mean = cv2.reduce(some, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F)[:, 0]
    steps = np.abs(np.diff(mean, axis=0)).max(axis=1)
    no_step = np.maximum(np.append(0, steps), np.append(steps, 0)) <= 12  # else two grounds meet
    span = cv2.reduce(some, 1, cv2.REDUCE_MAX) - cv2.reduce(some, 1, cv2.REDUCE_MIN)
    even = np.flatnonzero(no_step & (span.max(axis=(1, 2)) <= 12))
    smooth[even[_row_spread(image[even, ::2]) < 1.5]] = 1
    count, labels, stats, _ = cv2.connectedComponentsWithStats(smooth, connectivity=4)
    touching = np.zeros(count, dtype=bool)
    for line in [labels[:, 0], labels[:, -1]] + [labels[0]] * top + [labels[-1]] * bottom:
        touching[line] = True
    area = stats[:, cv2.CC_STAT_AREA]
    large = (area >= unit * unit // 800) | (touching & (area >= unit * unit // 4000))
    sure: list[_Region] = []
    unsure: list[_Region] = []
    balloons = np.zeros((height, width), np.uint8)
    for label in np.flatnonzero(large[1:]) + 1:
        region = _Region(int(label), labels, stats[label], image)
        if touching[label] and region.is_ground():
            sure.append(region)
        elif (outline := region.balloon()) is not None:
            for line in (cv2.FILLED, 5):
                cv2.drawContours(balloons, [outline], -1, 1, line, offset=(region.x, region.y))
        elif touching[label] or region.is_band():
            unsure.append(region)
    bands = [r for r in sure if r.w == width and r.area > 0.95 * r.w * r.h]
    sure = [region for region in sure if not region.is_between(bands)]
    ground = [region.label for region in sure]
    ground += [region.label for region in unsure if region.belongs_to(sure)]
    chosen = np.zeros(count, dtype=np.uint8)
    chosen[ground] = 1
    return np.asarray(chosen[labels]), balloons


class _Region:
    """One smooth region: where it lies, its colour and its outline."""

    def __init__(self, label: int, labels: np.ndarray, stat: np.ndarray, image: np.ndarray) -> None:
        self.label = label
        self.page_height, self.page_width = labels.shape
        self.unit = min(labels.shape)
        self.x, self.y, self.w, self.h, self.area = (int(value) for value in stat)
        window = np.s_[self.y : self.y + self.h, self.x : self.x + self.w]
        self.mask = (labels[window] == label).astype(np.uint8)
        self.pixels = image[window]
        self.clean_rows = 0.0

    @cached_property
    def sample(self) -> np.ndarray:
        """Some of the pixels, (N, 3)."""
        step = max(1, int((self.area / 20000) ** 0.5))
        some = self.pixels[::step, ::step][self.mask[::step, ::step] > 0]
        return np.asarray(some if len(some) else self.pixels[self.mask > 0])

    @cached_property
    def colour(self) -> np.ndarray:
        return np.asarray(np.median(self.sample, axis=0))

    def is_ground(self) -> bool:
        """Whether the region is ground without a doubt: it runs across the page or round it."""
        across = self.w == self.page_width
        whole = np.flatnonzero(across & (self.mask.sum(1) >= 0.97 * self.page_width))
        if len(whole) >= 3:
            rows = self.pixels[whole[:: max(1, len(whole) // 50)]]
            self.clean_rows = float((_row_spread(rows) < 2.5).mean()) * len(whole)
        if self.clean_rows >= 3:
            self.colour = np.median(rows, axis=(0, 1))
        edges = {
            "left": self.mask[:, 0] if self.x == 0 else None,
            "top": self.mask[0] if self.y == 0 else None,
            "right": self.mask[:, -1] if self.x + self.w == self.page_width else None,
            "bottom": self.mask[-1] if self.y + self.h == self.page_height else None,
        }
        touched = [int(edge.sum()) for edge in edges.values() if edge is not None]
        if self.page_height < 3 * self.page_width and self.holds_panels():
            if sum(touched) > 0.4 * 2 * (self.page_width + self.page_height):
                return True
            if len(touched) >= 3 and (self.clean_rows >= 3 or self.straight() > 0.3):
                return True
        return self.clean_rows >= 0.25 * self.h or (self.clean_rows >= 3 and self.straight() > 0.3)

    def holds_panels(self) -> bool:
        """Whether what lies within the region is large, and not the strokes of a drawing."""
        import cv2

        size = max(3, self.unit // 16)
        holes = 1 - self.mask
        large = cv2.morphologyEx(holes, cv2.MORPH_OPEN, np.ones((size, size), np.uint8))
        return int(large.sum()) >= 0.3 * int(holes.sum())

    def is_between(self, bands: list[_Region]) -> bool:
        """Whether empty bands of one other colour lie above and below: then this is a panel with
        an even background that reaches to both sides."""
        others = [band for band in bands if np.abs(band.colour - self.colour).max() > 8]
        above = [band for band in others if abs(band.y + band.h - self.y) <= 6]
        below = [band for band in others if abs(self.y + self.h - band.y) <= 6]
        return self not in bands and any(
            np.abs(a.colour - b.colour).max() <= 8 for a in above for b in below
        )

    def belongs_to(self, sure: list[_Region]) -> bool:
        """Whether a doubtful region has the colour of ground not too far away, and fits."""
        reach = 6 * self.page_width
        if not any(
            np.abs(other.colour - self.colour).max() <= 8
            and other.y < self.y + self.h + reach
            and self.y < other.y + other.h + reach
            for other in sure
        ):
            return False
        return self.clean_rows >= 3 or self.straight() > 0.5 or self.is_band()

    def straight(self) -> float:
        """Share of the outline, without the page's edge, that runs along a row or a column."""
        import cv2

        outline = self.mask - cv2.erode(
            self.mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
        )
        if self.x == 0:
            outline[:, 0] = 0
        if self.x + self.w == self.page_width:
            outline[:, -1] = 0
        if self.y == 0:
            outline[0] = 0
        if self.y + self.h == self.page_height:
            outline[-1] = 0
        run = max(16, self.page_width // 32)
        rows = cv2.morphologyEx(outline, cv2.MORPH_OPEN, np.ones((1, run), np.uint8))
        columns = cv2.morphologyEx(outline, cv2.MORPH_OPEN, np.ones((run, 1), np.uint8))
        return int(np.count_nonzero((rows > 0) | (columns > 0))) / max(1, int(outline.sum()))

    def is_band(self) -> bool:
        return _is_band(self.mask, self.area, self.unit)

    def balloon(self) -> np.ndarray | None:
        """The outline when this is the inside of a balloon: one light or dark colour, lettering."""
        import cv2

        size = self.area / self.unit**2
        if not 0.0012 < size < 0.08 or min(self.w, self.h) < 0.03 * self.unit:
            return None
        colour, spread = cv2.meanStdDev(self.pixels, mask=self.mask)
        if 40 < colour.mean() < 190 or spread.max() > 5:
            return None
        contours, _ = cv2.findContours(self.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = max(contours, key=cv2.contourArea)
        filled = cv2.contourArea(outline)
        if filled > 0.92 * self.w * self.h and size > 0.02:
            return None  # a panel
        round_enough = filled > 0.75 * cv2.contourArea(cv2.convexHull(outline))
        lettering = 1 - self.area / max(1.0, filled)
        return outline if round_enough and 0.08 < lettering < 0.75 else None


def _grown(image: np.ndarray, seeds: np.ndarray, balloons: np.ndarray) -> np.ndarray:
    """Ground up to the borders of the panels and through narrow gutters.

    A pixel is ground when its colour is that of the ground around it and it is connected to
    it, or when it is part of a straight narrow band that balloons or the page's sides cut off.
    """
    import cv2

    height, width = image.shape[:2]
    unit = min(width, height)
    if not seeds.any():
        return np.zeros((height, width), np.uint8)
    size = (max(1, width // 8), max(1, height // 8))
    weight = cv2.resize(seeds.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(
        cv2.bitwise_and(image, image, mask=seeds), size, interpolation=cv2.INTER_AREA
    )
    total = total.astype(np.float32)
    weight[weight < 0.1] = 0  # too few levels are left of so few pixels
    total[weight == 0] = 0
    around = _spread(total, weight)
    low, high = (
        cv2.resize(np.clip(around + shift, 0, 255).astype(np.uint8), (width, height))
        for shift in (-NEAR, NEAR)
    )
    near = cv2.inRange(image, low, high)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=4)
    is_ground = np.zeros(count, np.uint8)
    is_ground[labels[seeds > 0]] = 1
    is_ground[0] = 0
    long = (stats[:, 2:4].max(axis=1) > 0.12 * unit) & (stats[:, 4] > unit * unit // 2000)
    for label in np.flatnonzero(long & (is_ground == 0)):
        x, y, w, h, area = (int(value) for value in stats[label])
        mask = (labels[y : y + h, x : x + w] == label).astype(np.uint8)
        if not label or not _is_band(mask, area, unit):
            continue
        reach = unit // 100
        for end in _ends(mask):
            ex, ey = int(end[0]) + x, int(end[1]) + y
            window = np.s_[max(0, ey - reach) : ey + reach + 1, max(0, ex - reach) : ex + reach + 1]
            at_edge = min(ex, ey, width - 1 - ex, height - 1 - ey) < reach
            if not (at_edge or is_ground[labels[window]].any() or balloons[window].any()):
                break
        else:
            is_ground[label] = 1
    return np.asarray(is_ground[labels])


def _row_spread(rows: np.ndarray) -> np.ndarray:
    """The largest standard deviation of a channel along each row.

    Shapes:  (N, W, 3) uint8 -> (N,)
    """
    import cv2

    if not rows.size:
        return np.zeros(len(rows), np.float32)
    from_first = rows.astype(np.float32) - rows[:, :1]
    mean = cv2.reduce(from_first, 1, cv2.REDUCE_AVG)
    square = cv2.reduce(from_first * from_first, 1, cv2.REDUCE_AVG)
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)).reshape(-1, 3).max(axis=1))


def most(channels: np.ndarray) -> np.ndarray:
    """The largest of three channels."""
    first, second, third = channels[..., 0], channels[..., 1], channels[..., 2]
    return np.asarray(np.maximum(np.maximum(first, second), third))


def _is_band(mask: np.ndarray, area: int, unit: int) -> bool:
    """Whether a region may be a piece of gutter, slanted perhaps: long, narrow and straight."""
    import cv2

    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    _, sides, _ = cv2.minAreaRect(max(contours, key=cv2.contourArea))
    short, long = sorted(sides)
    return short <= 0.08 * unit and long > 4 * short and area > 0.6 * (short + 1) * (long + 1)


def _ends(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middles of the two short sides of a band."""
    import cv2

    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = cv2.boxPoints(cv2.minAreaRect(max(contours, key=cv2.contourArea)))
    if np.linalg.norm(corners[0] - corners[1]) > np.linalg.norm(corners[1] - corners[2]):
        corners = np.roll(corners, 1, axis=0)
    return (corners[0] + corners[1]) / 2, (corners[2] + corners[3]) / 2


def _spread(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean colours, taken from farther away where the weight is zero."""
    import cv2

    mean = total / np.maximum(weight, 1e-6)[..., None]
    height, width = weight.shape
    known = weight > 0
    if known.all() or max(height, width) == 1:
        return np.asarray(mean)
    size = ((width + 1) // 2, (height + 1) // 2)
    wide = _spread(
        cv2.resize(total, size, interpolation=cv2.INTER_AREA),
        cv2.resize(weight, size, interpolation=cv2.INTER_AREA),
    )
    wide = cv2.resize(wide, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(known[..., None], mean, wide)
