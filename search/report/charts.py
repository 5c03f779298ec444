"""Charts as Plotly figures: plain dictionaries, drawn in the reader's browser.

Colours of text, paper and grid are left to the page, which knows whether it is light or
dark; only marks are coloured here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

Figure = dict[str, Any]
Row = Mapping[str, Any]

HUES = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#999933",
)  # fmt: skip
"""Paul Tol's bright scheme and two of his others: told apart by the colour-blind too."""
REST = "#9a9a9a"
SHOWN = len(HUES)
NAMED = 40  # authors whose names stand on the map where there is room, those with most pictures
MAP_PX = (1040, 620)
"""What the map is taken to measure when names are kept apart; a phone shows fewer of them."""
LETTER_PX = 6.5
LINE_PX = 15


def hue_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for the first names; all others are grey."""
    return dict(zip(names[:SHOWN], HUES, strict=False))


def genre_by_year(rows: Sequence[Row], hues: Mapping[str, str]) -> Figure:
    """Shares of genres, year by year, as stacked bars."""
    years = sorted({row["year"] for row in rows})
    total = Counter[int]()
    cells: dict[str, Counter[int]] = defaultdict(Counter)
    for row in rows:
        name = row["genre"] if row["genre"] in hues else "other"
        cells[name][row["year"]] += row["pictures_count"]
        total[row["year"]] += row["pictures_count"]
    names = [name for name in hues if name in cells] + (["other"] if "other" in cells else [])
    return {
        "data": [
            {
                "type": "bar", "name": name, "x": years,
                "y": [100 * cells[name][year] / total[year] for year in years],
                "customdata": [cells[name][year] for year in years],
                "marker": {"color": hues.get(name, REST)},
                "hovertemplate": f"%{{x}} · {name}<br>%{{y:.0f}} %, %{{customdata}} pictures"
                "<extra></extra>",
            }
            for name in names
        ],
        "layout": {
            "barmode": "stack", "bargap": 0.08, "legend": {"traceorder": "normal"},
            "xaxis": {"type": "category" if len(years) < 12 else "linear", "title": None},
            "yaxis": {"title": {"text": "share of the year's pictures, %"}, "range": [0, 100]},
        },
    }  # fmt: skip


def pictures_per_year(rows: Sequence[Row]) -> Figure:
    """How many pictures there are of each year: how far the shares can be trusted."""
    total = Counter[int]()
    for row in rows:
        total[row["year"]] += row["pictures_count"]
    years = sorted(total)
    return {
        "data": [
            {"type": "bar", "x": years, "y": [total[y] for y in years],
             "marker": {"color": HUES[0]},
             "hovertemplate": "%{x}: %{y} pictures<extra></extra>"}
        ],
        "layout": {
            "showlegend": False, "bargap": 0.08,
            "xaxis": {"type": "category" if len(years) < 12 else "linear"},
            "yaxis": {"title": {"text": "pictures"}},
        },
        "height": 220,
    }  # fmt: skip


def bars(names: Sequence[str], values: Sequence[float], hues: Mapping[str, str]) -> Figure:
    """Horizontal bars, the longest on top."""
    order = sorted(range(len(names)), key=lambda n: values[n])
    return {
        "data": [
            {
                "type": "bar", "orientation": "h",
                "y": [names[n] for n in order], "x": [values[n] for n in order],
                "marker": {"color": [hues.get(names[n], REST) for n in order]},
                "hovertemplate": "%{y}: %{x:,} pictures<extra></extra>",
            }
        ],
        "layout": {"showlegend": False, "xaxis": {"title": {"text": "pictures"}}},
        "height": 90 + 24 * len(names),
    }  # fmt: skip


def confusion(rows: Sequence[Row], what: str) -> Figure:
    """Truth against prediction, each row adding up to 100 %."""
    weight = Counter[str]()
    for row in rows:
        weight[row["genre"]] += row["pictures_count"]
    by_size = [name for name, _ in weight.most_common()]
    names = sorted(by_size) if what == "era" else by_size
    share = {(row["genre"], row["predicted"]): 100 * row["share"] for row in rows}
    cells = [[share.get((true, told), 0.0) for told in names] for true in names]
    return {
        "data": [
            {
                "type": "heatmap", "x": names, "y": names, "z": cells,
                "zmin": 0, "zmax": 100, "xgap": 1, "ygap": 1, "scale": "sequential",
                "text": [[f"{value:.0f}" if value >= 5 else "" for value in row] for row in cells],
                "texttemplate": "%{text}",
                "hovertemplate": f"true {what} %{{y}}<br>taken for %{{x}}<br>%{{z:.0f}} %"
                "<extra></extra>",
                "colorbar": {"title": {"text": "%"}, "thickness": 10, "len": 0.7},
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": f"taken for ({what})"}, "tickangle": -40,
                      "showgrid": False, "type": "category"},
            "yaxis": {"title": {"text": f"true {what}"}, "autorange": "reversed",
                      "showgrid": False, "type": "category"},
        },
        "height": 190 + 30 * len(names),
    }  # fmt: skip


def style_map(rows: Sequence[Row], place: Any, hues: Mapping[str, str]) -> Figure:
    """Authors on a plane; each genre a trace, so that the legend can hide it."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[row["genre"] if row["genre"] in hues else "other"].append(number)
    names = [name for name in hues if name in groups] + (["other"] if "other" in groups else [])
    largest = max((row["pictures_count"] for row in rows), default=1)
    shown = _names_apart([row["author"] for row in rows[:NAMED]], place)
    return {
        "data": [
            {
                "type": "scatter", "mode": "markers+text", "name": name,
                "text": [rows[n]["author"] if n in shown else "" for n in groups[name]],
                "textposition": "top center", "textfont": {"size": 11},
                "x": [round(float(place[n][0]), 4) for n in groups[name]],
                "y": [round(float(place[n][1]), 4) for n in groups[name]],
                "customdata": groups[name], "hoverinfo": "none",
                "marker": {
                    "color": hues.get(name, REST), "opacity": 0.8, "line": {"width": 0.5},
                    "size": [
                        7 + 19 * (rows[n]["pictures_count"] / largest) ** 0.5
                        for n in groups[name]
                    ],
                },
            }
            for name in names
        ],
        "layout": {
            "hovermode": "closest",
            "xaxis": {"visible": False, "range": [-0.03, 1.03]},
            "yaxis": {"visible": False, "range": [-0.03, 1.06]},
        },
        "height": 620,
    }  # fmt: skip


def _names_apart(names: Sequence[str], place: Any) -> set[int]:
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


def drift(rows: Sequence[Row], most: int = SHOWN) -> Figure:
    """How like their first year authors stay; those who moved most."""
    by_author: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_author[row["author"]].append(row)
    last = {author: lines[-1]["like_first"] for author, lines in by_author.items()}
    chosen = sorted(last, key=lambda author: (last[author], author))[:most]
    years = [row["year"] for author in chosen for row in by_author[author]]
    step = max(1, -(-(max(years) - min(years)) // 10)) if years else 1  # whole years only
    return {
        "data": [
            {
                "type": "scatter", "mode": "lines+markers", "name": author,
                "x": [row["year"] for row in by_author[author]],
                "y": [row["like_first"] for row in by_author[author]],
                "customdata": [row["pictures_count"] for row in by_author[author]],
                "line": {"color": HUES[number % SHOWN], "width": 2},
                "hovertemplate": f"{author}<br>%{{x}}: %{{y:.2f}}, %{{customdata}} pictures"
                "<extra></extra>",
            }
            for number, author in enumerate(chosen)
        ],
        "layout": {
            "xaxis": {"title": {"text": "year"}, "tickformat": "d", "dtick": step},
            "yaxis": {"title": {"text": "likeness to the author's first year (cosine)"}},
        },
        "height": 420,
    }  # fmt: skip


def color_drift(rows: Sequence[Row]) -> Figure:
    """Saturation and brightness over the years; each dot in the year's mean colour."""
    years = [row["year"] for row in rows]
    shades = [f"rgb({row['r']:.0f},{row['g']:.0f},{row['b']:.0f})" for row in rows]

    def line(name: str, key: str, hue: str) -> dict[str, Any]:
        return {
            "type": "scatter", "mode": "lines+markers", "name": name, "x": years,
            "y": [row[key] for row in rows], "line": {"color": hue, "width": 1.5},
            "marker": {"color": shades, "size": 12, "line": {"color": hue, "width": 1.5}},
            "hovertemplate": f"%{{x}}: {name} %{{y:.2f}}<extra></extra>",
        }  # fmt: skip

    return {
        "data": [line("brightness", "value", HUES[0]), line("saturation", "saturation", HUES[1])],
        "layout": {
            "xaxis": {"tickformat": "d", **({"type": "category"} if len(years) < 8 else {})},
            "yaxis": {"title": {"text": "mean, 0 to 1"}, "range": [0, 1]},
        },
    }  # fmt: skip


def channels(histogram: Any) -> Figure:
    """Distribution of red, green and blue levels."""
    levels = [round((n + 0.5) * 256 / len(histogram[0])) for n in range(len(histogram[0]))]
    return {
        "data": [
            {
                "type": "scatter", "mode": "lines", "name": name, "x": levels,
                "y": [round(100 * float(share), 3) for share in row],
                "line": {"color": hue, "width": 1.5, "shape": "hvh"},
                "hovertemplate": f"{name} %{{x}}: %{{y:.1f}} %<extra></extra>",
            }
            for name, hue, row in zip(
                ("red", "green", "blue"), ("#dd4455", "#33995f", "#4477cc"), histogram, strict=True
            )
        ],
        "layout": {
            "showlegend": False, "margin": {"l": 34, "r": 6, "t": 4, "b": 24},
            "xaxis": {"range": [0, 255], "tickvals": [0, 128, 255]},
            "yaxis": {"type": "log", "tickvals": [0.1, 1, 10, 100], "ticktext": ["0.1 %", "1 %",
                      "10 %", "100 %"], "range": [-1.3, 2]},
        },
        "height": 130,
    }  # fmt: skip


def freshness(rows: Sequence[Row]) -> Figure:
    """When pictures came in."""
    days = [str(row["day"]) for row in rows]
    return {
        "data": [
            {"type": "bar", "name": "stored", "x": days,
             "y": [row["stored_count"] for row in rows], "marker": {"color": HUES[2]}},
            {"type": "bar", "name": "skipped or failed", "x": days,
             "y": [row["others"] for row in rows], "marker": {"color": HUES[1]}},
        ],
        "layout": {"barmode": "stack", "xaxis": {"type": "category"},
                   "yaxis": {"title": {"text": "pictures"}}},
        "height": 240,
    }  # fmt: skip
