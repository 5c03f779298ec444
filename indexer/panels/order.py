"""In which order panels are read."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""

THROUGH = 0.25
"""Share of a panel's area by which a cut between two groups may run through it.

Source:  Kovanen and Aizawa 2015, "A layered method for determining manga text bubble reading
         order", IEEE International Conference on Image Processing
"""


def reading_order(boxes: Sequence[Box], width: int, height: int, rtl: bool = False) -> list[int]:
    """Indices of the boxes in reading order: rows from the top, `rtl` from the right.

    Double pages are read page by page, with what spans both in between, and columns of four
    equal panels (4-koma) column by column.
    """
    everything = list(range(len(boxes)))
    if width > 1.1 * height and (pages := _double_page(boxes, width, rtl)):
        return [i for group in pages for i in _rows_and_columns(boxes, group, rtl)]
    return _rows_and_columns(boxes, everything, rtl)


def _rows_and_columns(boxes: Sequence[Box], group: list[int], rtl: bool) -> list[int]:
    if len(group) < 2:
        return group
    axes = (0, 1) if _is_four_panel(boxes, group) else (1, 0)
    for axis in axes:
        if halves := _cut(boxes, group, axis):
            first, second = halves[::-1] if axis == 0 and rtl else halves
            return _rows_and_columns(boxes, first, rtl) + _rows_and_columns(boxes, second, rtl)
    sign = -1 if rtl else 1
    return sorted(group, key=lambda i: (boxes[i][1], sign * boxes[i][0]))


def _cut(boxes: Sequence[Box], group: list[int], axis: int) -> tuple[list[int], list[int]] | None:
    """Two groups before and after the line that runs least through panels, None without one."""
    best: tuple[float, list[int], list[int]] | None = None
    for line in sorted({boxes[i][axis] for i in group})[1:]:
        before = [i for i in group if boxes[i][axis] + boxes[i][axis + 2] / 2 < line]
        after = [i for i in group if i not in before]
        if not before or not after:
            continue
        through = [
            max(0.0, boxes[i][axis] + boxes[i][axis + 2] - line) / boxes[i][axis + 2]
            for i in before
        ] + [max(0.0, line - boxes[i][axis]) / boxes[i][axis + 2] for i in after]
        if max(through) <= THROUGH and (best is None or sum(through) < best[0]):
            best = (sum(through), before, after)
    return (best[1], best[2]) if best else None


def _is_four_panel(boxes: Sequence[Box], group: list[int]) -> bool:
    """Whether this is a grid of equal panels, four rows or more, with wide gaps between columns."""
    widths = [boxes[i][2] for i in group]
    heights = [boxes[i][3] for i in group]
    if max(widths) > 1.15 * min(widths) or max(heights) > 1.15 * min(heights):
        return False
    columns = _gaps([(boxes[i][0], boxes[i][0] + boxes[i][2]) for i in group])
    rows = _gaps([(boxes[i][1], boxes[i][1] + boxes[i][3]) for i in group])
    equal = len(group) == (len(columns) + 1) * (len(rows) + 1)
    return equal and bool(columns) and len(rows) >= 3 and min(columns) > 1.5 * max(rows)


def _gaps(spans: list[tuple[int, int]]) -> list[int]:
    """Widths of the gaps between intervals that lie apart."""
    spans = sorted(spans)
    gaps, end = [], spans[0][1]
    for start, stop in spans[1:]:
        if start >= end:
            gaps.append(start - end)
        end = max(end, stop)
    return gaps


def _double_page(boxes: Sequence[Box], width: int, rtl: bool) -> list[list[int]]:
    """The panels in groups: above a spread one page and the other, the spread, and so on.

    Empty when no spine is found in the middle.
    """
    left, right, spreads = [], [], []
    for i, (x, _, w, _) in enumerate(boxes):
        share = (width / 2 - x) / w  # of the panel that lies on the left page
        if share >= 1 - 0.1:
            left.append(i)
        elif share <= 0.1:
            right.append(i)
        else:
            spreads.append(i)
    if len(left) < 2 or len(right) < 2 or any(boxes[i][2] < 0.6 * width for i in spreads):
        return []
    pages = (right, left) if rtl else (left, right)
    groups: list[list[int]] = []
    top = float("-inf")
    for spread in [*sorted(spreads, key=lambda i: boxes[i][1]), None]:
        until = float("inf") if spread is None else boxes[spread][1] + boxes[spread][3] / 2
        for page in pages:
            groups.append([i for i in page if top <= boxes[i][1] + boxes[i][3] / 2 < until])
        if spread is not None:
            groups.append([spread])
        top = until
    return groups
