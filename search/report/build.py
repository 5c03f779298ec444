"""Gathers what the report shows and writes its page."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from colorsys import rgb_to_hsv
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from indexer.duplicates import Duplicates, find_duplicates
from indexer.era_pictures import EraPictures, overlay
from indexer.style_map import lay_out
from schemas.attempt import in_order
from schemas.errors import ToonsearchError
from schemas.images import PictureError, stored_preview
from schemas.settings import Settings
from schemas.storage.outputs import check_target, write_text
from search.cli.options import counted
from search.output.html import Thumbnail, encode_webp, environment
from search.output.preview import CLOSER, closer
from search.report import charts
from search.report.queries import SQL, Answers, Row
from search.sql.session import SqlSession

TEMPLATES = Path(__file__).parent / "templates"
THUMB_PX = 112
MAP_THUMBNAILS = 400  # authors whose drawings the map shows
PALETTE_COLORS = 120  # cubes of one palette that are drawn in three dimensions
STRIP_COLORS = 28
PAIRS = 24  # copies shown


def check_report(target: Path) -> None:
    """Whether a report can be made and written there.

    Errors:  InputError when it cannot be written; ToonsearchError when a package is missing
    """
    check_target(target, "html")
    for package in ("plotly", "openTSNE"):
        if find_spec(package) is None:
            raise ToonsearchError(
                f"the report needs the package {package}",
                "Install toonsearch with the extra `report`.",
            )


def write_report(
    settings: Settings, target: Path, note: Callable[[str], None] | None = None
) -> int:
    """Write the report; returns its size in bytes.

    Errors:  InputError when the catalog cannot be read or the file not be written;
             ToonsearchError when a package is not installed
    """
    check_report(target)
    from plotly.offline import get_plotlyjs

    say = note or (lambda text: None)
    packed = gzip.compress(get_plotlyjs().encode(), 9, mtime=0)  # 1.9 MB instead of 4.8
    templates = environment(TEMPLATES)
    templates.filters |= {
        "statement": SQL.__getitem__,
        "thousands": "{:,}".format,
        "strips": strips,
        "age": _age,
        "run_counts": _run_counts,
    }
    with SqlSession(settings.layout, settings) as session:
        rows = Answers(session)
        say("comparing drawings")
        copies = find_duplicates(settings.layout, settings)
        say("reading pictures")
        thumbnails = _thumbnails(settings, _files(rows, copies))
        files = [(row["era"], row["file"]) for row in rows["era_pictures"]]
        eras = overlay(settings.layout, settings.decode.limits, files) if files else []
        say("drawing charts")
        page = templates.get_template("report.html.j2").render(
            rows=rows,
            data=_data(rows, eras, thumbnails),
            copies=copies,
            thumbnails=thumbnails,
            few=charts.FEW,
            eras=[_era(number, era) for number, era in enumerate(eras)],
            now=datetime.now(UTC).replace(tzinfo=None),
            style=(TEMPLATES / "report.css").read_text("utf-8"),
            script=(TEMPLATES / "report.js").read_text("utf-8"),
            plotly=base64.b64encode(packed).decode("ascii"),
        )
    return write_text(target, page)


def _run_counts(text: str | None) -> str:
    """What a run counted, in words; what else it recorded of itself is for SQL."""
    try:
        counts = json.loads(text or "{}")
    except ValueError:
        return text or ""
    return counted({what: n for what, n in counts.items() if type(n) is int and n})


def _files(rows: Answers, copies: Duplicates) -> list[str | None]:
    """The pictures that are shown small."""
    pairs = [*copies.copied[:PAIRS], *copies.near[: PAIRS // 2]]
    return [
        *(row["file"] for name in ("distinctive", "ambiguous") for row in rows[name]),
        *(file for row in rows["authors"][:MAP_THUMBNAILS] for file in row["files"]),
        *(holder.file for pair in pairs for holder in (pair.first, pair.second)),
    ]


def _thumbnails(settings: Settings, files: Iterable[str | None]) -> dict[str, Thumbnail]:
    """Small copies of stored pictures; those that cannot be read are left out."""

    def read(file: str) -> Thumbnail | None:
        place, side_px = settings.layout.picture(file), round(CLOSER * THUMB_PX)
        image = stored_preview(place, settings.decode.limits, side_px)
        return None if image is None else encode_webp(closer(image, THUMB_PX), 62)

    wanted = list(dict.fromkeys(file for file in files if file))
    return {
        file: made
        for file, made in in_order(read, wanted, 64)
        if made is not None and not isinstance(made, PictureError)
    }


def _data(
    rows: Answers, eras: Sequence[EraPictures], thumbnails: dict[str, Thumbnail]
) -> dict[str, Any]:
    """What the page's script reads: charts, palettes, and the drawings of authors."""
    genres = rows["genres"]
    hues = charts.hue_of([row["genre"] for row in genres])
    made: dict[str, Any] = {}
    data: dict[str, Any] = {"charts": made, "palettes": _palettes(rows)}
    if data["palettes"]:
        made |= {"rgb": charts.EMPTY, "hsv": charts.EMPTY}
    if len(rows["freshness"]) > 1:
        made["freshness"] = charts.freshness(rows["freshness"])
    if genres:
        made["genres"] = charts.genres(genres[:14], hues)
    if by_year := rows["genre_by_year"]:
        made["genre_by_year"] = charts.genre_by_year(by_year, hues)
        made["pictures_by_year"] = charts.pictures_by_year(rows["pictures_by_year"])
    if rows["confusion"]:
        made["genre_confusion"] = charts.confusion(rows["confusion"], "genre")
    if rows["drift"]:
        made["drift"] = charts.drift(rows["drift"])
    if len(rows["color_by_year"]) > 1:
        made["color_drift"] = charts.color_drift(rows["color_by_year"])
    if len({row["era"] for row in rows["era_confusion"]}) > 1:
        made["era_confusion"] = charts.confusion(rows["era_confusion"], "era")
    for number, era in enumerate(eras):
        made[f"era-{number}"] = charts.channels(era.histogram)
    authors = rows["authors"]
    if len(authors) >= 3:
        place = lay_out(np.asarray([row["style"] for row in authors], dtype=np.float32))
        made["map"] = charts.style_map(authors, place, hues)
        data["authors"] = [
            {
                "name": row["author"],
                "about": _about(row),
                "images": [thumbnails[file].uri for file in row["files"] if file in thumbnails],
            }
            for row in authors
        ]
    return data


def _about(author: Row) -> str:
    about = f"{author['pictures_count']:,} pictures"
    if author["genre"]:
        about += f", {author['genre']}"
    if author["first_year"]:
        first, last = author["first_year"], author["last_year"]
        about += f", {first}" + (f"-{last}" if last != first else "")
    return about


def _palettes(rows: Answers) -> dict[str, list[list[float]]]:
    """Colours of genres and eras with their shares, for the charts in three dimensions."""
    found: dict[str, list[list[float]]] = {}
    for kind in ("genre", "era"):
        for row in rows[f"{kind}_palette"]:
            colors = found.setdefault(f"{kind} · {row['name']}", [])
            if len(colors) < PALETTE_COLORS:
                colors.append([row["r"], row["g"], row["b"], round(row["share"], 5)])
    return found


def strips(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Palettes by name, the largest colours of each: grays first, then around the wheel."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["name"], []).append(row)
    found = []
    for name, colors in by_name.items():
        shown = sorted(colors, key=lambda c: -c["share"])[:STRIP_COLORS]
        total = sum(c["share"] for c in shown)
        cells = [{**c, "width": max(c["share"] / total, 0.004)} for c in sorted(shown, key=_shade)]
        found.append((name, cells))
    return found


def _shade(color: Row) -> tuple[int, float]:
    h, s, v = rgb_to_hsv(color["r"] / 255, color["g"] / 255, color["b"] / 255)
    return (0, -v) if s < 0.15 or v < 0.15 else (1, round(h * 12) * 10 + v)


def _era(number: int, era: EraPictures) -> dict[str, Any]:
    from PIL import Image

    pixels = {"mean": era.mean, "median": era.median, "mode": era.mode}
    return {
        "era": era.era,
        "count": era.count,
        "chart": f"era-{number}",
        "images": {name: encode_webp(Image.fromarray(one), 82) for name, one in pixels.items()},
    }


def _age(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return ""
    days = (now - moment).days
    return "today" if days < 1 else f"{days} days ago"
