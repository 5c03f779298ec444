"""The page around the charts: sections, figures, swatches, cards, and the SQL of each."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from schemas.errors import ToonsearchError
from search.output.html import Markup, element, joined, text

TEMPLATES = Path(__file__).parent.parent / "output" / "templates"
HEIGHT_PX = 380


class Page:
    """Collects sections; charts and their data travel as JSON beside them."""

    def __init__(self, thumbnails: Mapping[str, str]) -> None:
        self.thumbnails = thumbnails
        self.charts: list[dict[str, Any]] = []
        self.sections: list[Markup] = []
        self.contents: list[tuple[str, str]] = []
        self.data: dict[str, Any] = {}

    def section(self, name: str, heading: str, intro: str, *parts: object) -> None:
        """One part of the report."""
        self.contents.append((name, heading))
        self.sections.append(
            element(
                "section", {"id": name}, element("h2", None, heading),
                element("p", {"class": "intro"}, intro) if intro else None, *parts,
            )
        )  # fmt: skip

    def chart(self, figure: Mapping[str, Any], label: str, sql: str) -> Markup:
        """A chart, drawn when it comes into view, with its SQL below."""
        number = len(self.charts)
        height = int(figure.get("height", HEIGHT_PX))
        self.charts.append({"data": figure["data"], "layout": figure["layout"], "height": height})
        return element(
            "figure", {"class": "chart"},
            element("div", {"class": "plot", "data-chart": number, "role": "img",
                            "aria-label": label, "style": f"height:{height}px"}),
            behind(sql),
        )  # fmt: skip

    def picture(self, file: str | None, alt: str, kind: str = "thumb") -> Markup:
        """A stored picture, small."""
        uri = self.thumbnails.get(file or "")
        if uri is None:
            return element("span", {"class": f"{kind} missing", "role": "img", "aria-label": alt})
        return element("img", {"class": kind, "src": uri, "alt": alt, "decoding": "async"})

    def html(self, title: str, subtitle: str) -> str:
        """The whole page."""
        style = (TEMPLATES / "report.css").read_text("utf-8")
        script = (TEMPLATES / "report.js").read_text("utf-8")
        payload = json.dumps(
            {"charts": self.charts, **self.data}, ensure_ascii=False, allow_nan=False
        )
        contents = joined(
            element("a", {"href": f"#{name}"}, heading) for name, heading in self.contents
        )
        return Template((TEMPLATES / "report.html").read_text("utf-8")).substitute(
            title=text(title), subtitle=text(subtitle), style=style, script=script,
            digest=_digest(script), contents=contents, sections=joined(self.sections),
            payload=payload.replace("<", "\\u003c"), plotly=_plotly(),
        )  # fmt: skip


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _plotly() -> str:
    """Plotly's own script, packed: 1.9 MB instead of 4.8; the browser unpacks it.

    Errors:  ToonsearchError when the package is not installed
    """
    from importlib.util import find_spec

    found = find_spec("plotly")
    if found is None or found.origin is None:
        raise ToonsearchError(
            "the report needs the package plotly", "Install toonsearch with the extra `report`."
        )
    script = (Path(found.origin).parent / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode("ascii")


def behind(sql: str) -> Markup:
    """The statement behind a part, one click away."""
    return element(
        "details", {"class": "sql"}, element("summary", None, "SQL"),
        element("pre", None, element("code", None, sql)),
    )  # fmt: skip


def tiles(facts: Sequence[tuple[str, str, str]]) -> Markup:
    """Large numbers: what, how many, and a remark."""
    return element(
        "dl", {"class": "tiles"},
        *(
            element("div", None, element("dt", None, what), element("dd", None, figure),
                    element("dd", {"class": "remark"}, remark) if remark else None)
            for what, figure, remark in facts
        ),
    )  # fmt: skip


def swatches(rows: Sequence[Mapping[str, Any]], most: int = 28) -> Markup:
    """Palettes as strips; the width of a colour is its share of the area."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row["name"], []).append(row)
    strips = []
    for name, colors in by_name.items():
        shown = sorted(colors, key=lambda c: -c["share"])[:most]
        total = sum(c["share"] for c in shown)
        shown.sort(key=_shade)
        cells = [
            element("i", {"style": f"flex:{max(c['share'] / total, 0.004):.4f};"
                          f"background:rgb({c['r']},{c['g']},{c['b']})",
                          "title": f"#{c['r']:02x}{c['g']:02x}{c['b']:02x}"
                          f" · {100 * c['share']:.1f} %"})
            for c in shown
        ]  # fmt: skip
        strips.append(
            element("div", {"class": "strip"}, element("span", None, name),
                    element("b", {"role": "img", "aria-label": f"Palette of {name}"}, *cells))
        )  # fmt: skip
    return element("div", {"class": "strips"}, *strips)


def _shade(color: Mapping[str, Any]) -> tuple[int, float]:
    """Greys first by brightness, then colours around the wheel."""
    from colorsys import rgb_to_hsv

    h, s, v = rgb_to_hsv(color["r"] / 255, color["g"] / 255, color["b"] / 255)
    return (0, -v) if s < 0.15 or v < 0.15 else (1, round(h * 12) * 10 + v)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """A plain table; numbers to the right."""

    def cell(value: object) -> Markup:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        shown = f"{value:,}" if isinstance(value, int) else "" if value is None else value
        return element("td", {"class": "number"} if number else None, shown)

    return element(
        "div", {"class": "scroll"},
        element(
            "table", None,
            element("thead", None, element("tr", None, *(
                element("th", {"scope": "col"}, name) for name in head))),
            element("tbody", None, *(element("tr", None, *map(cell, row)) for row in rows)),
        ),
    )  # fmt: skip


def image_uri(pixels: np.ndarray) -> str:
    """Pixels as a data URI; (H, W, 3) uint8."""
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "WEBP", quality=82, method=4)
    return f"data:image/webp;base64,{base64.standard_b64encode(held.getvalue()).decode('ascii')}"
