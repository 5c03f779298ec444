"""The report's charts as plain SVG: no script, printable, in the colours of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from indexer.training.evaluation.retrieval import CURVE_RANKS, TableRow

WIDTH, HEIGHT, PAD = 720, 340, 46
PALETTE = ("#9aa3b2", "#b08a4a", "#8a6fc4", "#4a9ab0", "#3f8f5f", "#c4763a", "#2f6fdb", "#d1437a")
BINS = 15


def _svg(width: int, height: int, parts: Sequence[str], label: str) -> str:
    return (
        f"<svg viewBox='0 0 {width} {height}' width='{width}' role='img' "
        f"aria-label='{escape(label, quote=True)}'>{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start", extra: str = "") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' {extra}>{escape(text)}</text>"


def _axes(width: int, height: int, x_label: str, y_label: str) -> list[str]:
    low, left = height - PAD, PAD
    parts = [
        f"<path d='M{left} 12V{low}H{width - 12}' fill='none' stroke='currentColor' opacity='.5'/>",
        _text((width + left) / 2, height - 8, x_label, "middle"),
        _text(6, 10, y_label),
    ]
    for step in range(0, 11, 2):
        y = low - (low - 16) * step / 10
        parts.append(
            f"<path d='M{left} {y:.1f}H{width - 12}' stroke='currentColor' opacity='.12'/>"
        )
        parts.append(_text(left - 6, y + 4, f"{step * 10} %", "end"))
    return parts


def retrieval_curves(table: Sequence[TableRow]) -> str:
    """Share of queries with the right hand among the first k, by way of describing."""
    left, low, right = PAD, HEIGHT - PAD, WIDTH - 12
    parts = _axes(WIDTH, HEIGHT, "first k hits", "found")
    places = [
        left + (right - left) * np.log(rank) / np.log(CURVE_RANKS[-1]) for rank in CURVE_RANKS
    ]
    parts += [
        _text(x, low + 15, str(rank), "middle") for x, rank in zip(places, CURVE_RANKS, strict=True)
    ]
    legend = []
    for number, row in enumerate(table):
        again, place = divmod(number, len(PALETTE))
        colour, dashes = PALETTE[place], " stroke-dasharray='6 4'" if again else ""
        points = " ".join(
            f"{x:.1f},{low - (low - 16) * value:.1f}"
            for x, value in zip(places, row.curve, strict=True)
        )
        parts.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'{dashes}/>"
        )
        legend.append(
            f"<span style='white-space:nowrap;margin-right:1rem'><b style='color:{colour}'>"
            f"{'┅' if again else '▬'}</b> "
            f"{escape(row.name)}</span>"
        )
    return _svg(WIDTH, HEIGHT, parts, "retrieval curves") + f"<p class=note>{' '.join(legend)}</p>"


def reliability_diagram(confidence: np.ndarray, right: np.ndarray) -> str:
    """How often the first label was right, by how sure the answer was; equal-mass bins.

    Shapes:  (Q,), (Q,)
    """
    size = HEIGHT
    left, low = PAD, size - PAD
    span = size - PAD - 16
    parts = _axes(size + 40, size, "said", "was right")
    parts.append(
        f"<path d='M{left} {low}L{left + span} {low - span}' stroke='currentColor' "
        "stroke-dasharray='4 4' opacity='.5'/>"
    )
    order = np.argsort(confidence, kind="stable")
    for part in np.array_split(order, BINS):
        if not len(part):
            continue
        said, was = float(confidence[part].mean()), float(right[part].mean())
        parts.append(
            f"<circle cx='{left + span * said:.1f}' cy='{low - span * was:.1f}' r='4.5' "
            f"fill='var(--accent)'><title>said {said:.0%}, was right {was:.0%} "
            f"({len(part)} pictures)</title></circle>"
        )
    for step in range(0, 11, 2):
        parts.append(_text(left + span * step / 10, low + 15, f"{step * 10} %", "middle"))
    return _svg(size + 40, size, parts, "reliability diagram")


def confusion_matrix(truth: np.ndarray, told: np.ndarray) -> str:
    """Rows are the truth, columns what was told; each row sums to 100 %.

    Shapes:  (Q,), (Q,) of label names
    """
    names = [str(name) for name in np.unique(np.concatenate([truth, told]))]
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (np.searchsorted(names, truth), np.searchsorted(names, told)), 1)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cell = max(14, min(34, 620 // len(names)))
    left, top = 168, 128
    parts = []
    for i, name in enumerate(names):
        middle = cell * i + cell / 2 + 4
        parts.append(_text(left - 6, top + middle, _short(name), "end"))
        x = left + cell * i + cell / 2
        parts.append(
            _text(x, top - 6, _short(name), "start", f"transform='rotate(-55 {x:.0f} {top - 6})'")
        )
        for j, other in enumerate(names):
            if counts[i, j]:
                parts.append(
                    f"<rect x='{left + cell * j}' y='{top + cell * i}' width='{cell - 1}' "
                    f"height='{cell - 1}' fill='var({'--good' if i == j else '--bad'})' "
                    f"opacity='{0.12 + 0.88 * share[i, j]:.2f}'><title>{escape(name)} told as "
                    f"{escape(other)}: {counts[i, j]:.0f} ({share[i, j]:.0%})</title></rect>"
                )
    side = cell * len(names)
    parts.append(
        f"<rect x='{left}' y='{top}' width='{side}' height='{side}' fill='none' "
        "stroke='currentColor' opacity='.3'/>"
    )
    return _svg(left + side + 90, top + side + 8, parts, "confusion matrix")


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:22] + "…"


def bar_chart(values: Mapping[str, float], unit: str = "") -> str:
    """One horizontal bar for each name."""
    row, left, width = 24, 180, 620
    top = max([*(abs(value) for value in values.values()), 1e-9])
    parts = []
    for number, (name, value) in enumerate(values.items()):
        y = row * number
        long = (width - left - 90) * abs(value) / top
        colour = "--bad" if value > 0 else "--good"
        parts.append(_text(left - 8, y + 16, name, "end"))
        parts.append(
            f"<rect x='{left}' y='{y + 5}' width='{long:.1f}' height='14' fill='var({colour})'/>"
        )
        parts.append(_text(left + long + 6, y + 16, f"{value:+.1f}{unit}"))
    return _svg(width, row * len(values) + 6, parts, "bar chart")
