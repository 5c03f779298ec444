"""The report's charts: Plotly figures as JSON, drawn in the reader's browser.

Colours of text, paper and grid are left to the page, which knows whether it is light or
dark; only marks are coloured here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from plotly.graph_objects import Figure

    from search.report.queries import Row

HUES = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#999933",
)  # fmt: skip
"""Paul Tol's bright scheme and two of his others: the colour-blind tell them apart too."""
OTHER = "other"
GREY = "#9a9a9a"
FEW = 10
"""Pictures of a year below which its bar is pale and hatched."""
NAMED = 40  # authors whose names stand on the map where there is room, those with most pictures
MAP_PX = (1040, 620)
"""What the map is taken to measure when names are placed; a phone shows fewer of them."""
LETTER_PX, LINE_PX = 6.5, 15
EMPTY = {"data": [], "layout": {}, "height": 460}
"""A chart that the page's script fills."""


def hue_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for the first names, gray for all others."""
    return {**dict(zip(names, HUES, strict=False)), OTHER: GREY}


def genre_by_year(rows: Sequence[Row], hues: Mapping[str, str]) -> dict[str, Any]:
    """Shares of genres, year by year, as stacked bars."""
    import plotly.express as px

    figure = px.bar(_table(rows), x="year", y="pictures_count", **_colored("genre", hues))
    _mark_few(figure, rows)
    figure.update_traces(
        hovertemplate="%{x} · %{fullData.name}: %{y:.0f} %, %{customdata:,} pictures in all"
        "<extra></extra>"
    )
    figure.update_layout(barmode="stack", barnorm="percent", bargap=0.08)
    return _chart(figure, years=rows, y="share of the year's pictures, %")


def pictures_by_year(rows: Sequence[Row]) -> dict[str, Any]:
    """How many pictures there are of each year: how far the shares can be trusted."""
    import plotly.express as px

    figure = px.bar(_table(rows), x="year", y="pictures_count", color_discrete_sequence=HUES)
    _mark_few(figure, rows)
    figure.update_traces(hovertemplate="%{x}: %{y} pictures<extra></extra>")
    figure.update_layout(bargap=0.08)
    return _chart(figure, height=220, years=rows, y="pictures")


def genres(rows: Sequence[Row], hues: Mapping[str, str]) -> dict[str, Any]:
    """Pictures of each genre as horizontal bars, the longest on top."""
    import plotly.express as px

    bars = {"x": "pictures_count", "y": "genre", "orientation": "h"}
    figure = px.bar(_table(rows), **bars, **_colored("genre", hues))
    figure.update_traces(hovertemplate="%{y}: %{x:,} pictures<extra></extra>")
    figure.update_layout(showlegend=False)
    figure.update_yaxes(categoryorder="total ascending")
    return _chart(figure, height=90 + 24 * len(rows), x="pictures")


def confusion(rows: Sequence[Row], what: str) -> dict[str, Any]:
    """Truth against prediction, each row adding up to 100 %."""
    import plotly.graph_objects as go

    weight = Counter[str]()
    for row in rows:
        weight[row[what]] += row["pictures_count"]
    names = sorted(weight) if what == "era" else [name for name, _ in weight.most_common()]
    share = {(row[what], row["predicted"]): 100 * row["share"] for row in rows}
    cells = [[share.get((true, predicted), 0.0) for predicted in names] for true in names]
    figure = go.Figure(
        go.Heatmap(
            x=names,
            y=names,
            z=cells,
            zmin=0,
            zmax=100,
            xgap=1,
            ygap=1,
            text=[[f"{value:.0f}" if value >= 5 else "" for value in row] for row in cells],
            texttemplate="%{text}",
            hovertemplate=f"true {what} %{{y}}<br>taken for %{{x}}<br>%{{z:.0f}} %<extra></extra>",
            colorbar={"title": {"text": "%"}, "thickness": 10, "len": 0.7},
        )
    )
    figure.update_xaxes(tickangle=-40, showgrid=False, type="category")
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    return _chart(figure, height=190 + 30 * len(names), x=f"taken for ({what})", y=f"true {what}")


def style_map(rows: Sequence[Row], place: np.ndarray, hues: Mapping[str, str]) -> dict[str, Any]:
    """Authors on a plane; each genre a trace, so that the legend can hide it.

    Shapes:  N rows, place (N, 2) in 0..1
    """
    import plotly.express as px

    named = _names_apart([row["author"] for row in rows[:NAMED]], place)
    points = [
        {
            "number": number,
            "author": row["author"] if number in named else "",
            "genre": row["genre"] if row["genre"] in hues else OTHER,
            "pictures_count": row["pictures_count"],
            "x": round(float(x), 4),
            "y": round(float(y), 4),
        }
        for number, (row, (x, y)) in enumerate(zip(rows, place, strict=True))
    ]
    figure = px.scatter(
        _table(points),
        x="x",
        y="y",
        size="pictures_count",
        size_max=26,
        text="author",
        custom_data=["number"],
        **_colored("genre", hues),
    )
    figure.update_traces(
        textposition="top center",
        textfont_size=11,
        hoverinfo="none",
        hovertemplate=None,
        marker={"opacity": 0.8, "line": {"width": 0.5}, "sizemin": 4},
    )
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(visible=False, range=[-0.03, 1.03])
    figure.update_yaxes(visible=False, range=[-0.03, 1.06])
    return {**_chart(figure, height=MAP_PX[1]), "authors": True, "zoom": True}


def _names_apart(names: Sequence[str], place: np.ndarray) -> set[int]:
    """Which names can stand on the map without covering an earlier one."""
    taken: list[tuple[float, float, float]] = []  # middle, baseline, half the width
    shown = set()
    for number, name in enumerate(names):
        x, y = (float(place[number][axis]) * MAP_PX[axis] for axis in (0, 1))
        half = len(name) * LETTER_PX / 2
        if all(abs(x - u) > half + h or abs(y - v) > LINE_PX for u, v, h in taken):
            taken.append((x, y, half))
            shown.add(number)
    return shown


def drift(rows: Sequence[Row]) -> dict[str, Any]:
    """How like their first year authors stay."""
    import plotly.express as px

    figure = px.line(
        _table(rows),
        x="year",
        y="like_first",
        color="author",
        markers=True,
        custom_data=["pictures_count"],
        color_discrete_sequence=HUES,
    )
    figure.update_traces(
        hovertemplate="%{fullData.name}<br>%{x}: %{y:.2f}, %{customdata[0]} pictures<extra></extra>"
    )
    return _chart(figure, height=420, years=rows, y="cosine with the artist's first year")


def color_drift(rows: Sequence[Row]) -> dict[str, Any]:
    """Saturation and brightness over the years; each dot in the year's mean colour."""
    import plotly.express as px

    shades = [f"rgb({row['r']:.0f},{row['g']:.0f},{row['b']:.0f})" for row in rows]
    lines = {"y": ["brightness", "saturation"], "markers": True}
    figure = px.line(_table(rows), x="year", **lines, color_discrete_sequence=HUES)
    figure.update_traces(
        hovertemplate="%{x}: %{fullData.name} %{y:.2f}<extra></extra>",
        marker={"color": shades, "size": 12, "line": {"width": 1.5, "color": GREY}},
    )
    figure.update_yaxes(range=[0, 1])
    return _chart(figure, years=rows, y="mean, 0 to 1")


def channels(histogram: np.ndarray) -> dict[str, Any]:
    """Distribution of red, green and blue levels.

    Shapes:  (3, BINS), rows sum to 1
    """
    import plotly.graph_objects as go

    bins = histogram.shape[1]
    figure = go.Figure()
    for name, hue, row in zip(
        ("red", "green", "blue"), ("#dd4455", "#33995f", "#4477cc"), histogram, strict=True
    ):
        figure.add_scatter(
            name=name,
            mode="lines",
            x=[round((n + 0.5) * 256 / bins) for n in range(bins)],
            y=[round(100 * float(share), 3) for share in row],
            line={"color": hue, "width": 1.5, "shape": "hvh"},
            hovertemplate=f"{name} %{{x}}: %{{y:.1f}} %<extra></extra>",
        )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(range=[0, 255], tickvals=[0, 128, 255])
    ticks = [0.1, 1, 10, 100]
    figure.update_yaxes(
        type="log", tickvals=ticks, ticktext=[f"{tick:g} %" for tick in ticks], range=[-1.3, 2]
    )
    return _chart(figure, height=130, margin={"l": 34, "r": 6, "t": 4, "b": 24})


def freshness(rows: Sequence[Row]) -> dict[str, Any]:
    """When pictures came in."""
    import plotly.express as px

    days = _table([{**row, "day": str(row["day"])} for row in rows])
    counts = ["stored", "skipped or failed"]
    figure = px.bar(days, x="day", y=counts, color_discrete_sequence=[HUES[2], HUES[1]])
    figure.update_xaxes(type="category")
    return _chart(figure, height=240, y="pictures")


def _mark_few(figure: Figure, rows: Sequence[Row]) -> None:
    """Pale and hatched bars for years of too few pictures; each bar knows its year's number."""
    count = Counter[int]()
    for row in rows:
        count[row["year"]] += row["pictures_count"]
    for trace in figure.data:
        totals = [count[int(year)] for year in trace.x]
        trace.customdata = totals
        trace.marker.opacity = [0.4 if total < FEW else 1.0 for total in totals]
        trace.marker.pattern.shape = ["/" if total < FEW else "" for total in totals]


def _colored(column: str, hues: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of Plotly Express: a colour for each value of a column, in this order."""
    return {
        "color": column,
        "color_discrete_map": dict(hues),
        "color_discrete_sequence": [GREY],
        "category_orders": {column: list(hues)},
    }


def _table(rows: Sequence[Row]) -> Any:
    """Rows as what Plotly Express reads."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows))


def _chart(
    figure: Figure,
    *,
    height: int = 380,
    x: str | None = None,
    y: str | None = None,
    years: Sequence[Row] = (),
    margin: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """A figure as JSON without what the page sets for all of them."""
    figure.update_layout(legend_title=None)
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y)
    known = {row["year"] for row in years}
    if known and len(known) < 12 and figure.data[0].type == "bar":  # a label below each bar
        figure.update_xaxes(type="category", categoryorder="category ascending")
    elif known:  # whole years only
        step = max(1, -(-(max(known) - min(known)) // 10))
        figure.update_xaxes(tickformat="d", dtick=step)
    plain: dict[str, Any] = json.loads(figure.to_json())
    for name in ("template", "margin"):
        plain["layout"].pop(name, None)
    if margin is not None:
        plain["layout"]["margin"] = margin
    return {**plain, "height": height}
