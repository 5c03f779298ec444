"""Reading order: rows, columns, right to left, 4-koma, double pages."""

from __future__ import annotations

from itertools import permutations

from indexer.panels.order import Box, reading_order


def read(boxes: list[Box], width: int = 1000, height: int = 1400, rtl: bool = False) -> list[Box]:
    return [boxes[i] for i in reading_order(boxes, width, height, rtl)]


def test_order_does_not_depend_on_the_order_given() -> None:
    true: list[Box] = [
        (0, 0, 600, 300),
        (620, 0, 380, 300),
        (0, 320, 1000, 300),
        (0, 640, 490, 300),
    ]
    for given in permutations(true):
        assert read(list(given)) == true


def test_a_tall_panel_beside_two() -> None:
    tall, upper, lower = (0, 0, 480, 620), (520, 0, 480, 300), (520, 320, 480, 300)
    assert read([lower, tall, upper]) == [tall, upper, lower]
    assert read([lower, tall, upper], rtl=True) == [upper, lower, tall]


def test_slanted_panels_overlap() -> None:
    left, right, below = (0, 0, 560, 400), (460, 0, 540, 420), (0, 370, 1000, 500)
    assert read([below, right, left]) == [left, right, below]
    assert read([below, right, left], rtl=True) == [right, left, below]


def test_an_inset_comes_after_its_panel() -> None:
    outer, inset, after = (0, 0, 1000, 600), (700, 400, 250, 180), (0, 620, 1000, 300)
    assert read([inset, after, outer]) == [outer, inset, after]


def test_four_panel_columns() -> None:
    left: list[Box] = [(50, 100 + 310 * k, 420, 295) for k in range(4)]
    right: list[Box] = [(530, 100 + 310 * k, 420, 295) for k in range(4)]
    assert read(left + right, rtl=True) == right + left
    assert read(right + left) == left + right


def test_a_plain_grid_is_read_by_rows() -> None:
    grid: list[Box] = [(480 * (k % 2), 300 * (k // 2), 470, 290) for k in range(8)]
    assert read(grid[::-1]) == grid


def test_double_pages() -> None:
    left: list[Box] = [(50, 50, 800, 300), (50, 370, 800, 300)]
    right: list[Box] = [(950, 50, 800, 400), (950, 470, 800, 200)]
    assert read(right + left, 1800, 1400) == left + right
    assert read(right + left, 1800, 1400, rtl=True) == right + left


def test_a_spread_between_parts_of_double_pages() -> None:
    above: list[Box] = [(50, 50, 380, 200), (450, 50, 400, 200), (950, 50, 800, 200)]
    spread: Box = (0, 300, 1800, 500)
    below: list[Box] = [(50, 830, 800, 250), (50, 1100, 800, 250), (950, 830, 800, 500)]
    boxes = [*below, spread, *above]
    assert read(boxes, 1800, 1400) == [*above, spread, *below]
    assert read(boxes, 1800, 1400, rtl=True) == [
        above[2],
        above[1],
        above[0],
        spread,
        below[2],
        *below[:2],
    ]


def test_nothing_and_one() -> None:
    assert read([]) == []
    assert read([(0, 0, 10, 10)]) == [(0, 0, 10, 10)]
