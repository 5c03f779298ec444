"""Sections about looks: palettes, eras, copies, and what became of every picture."""

from __future__ import annotations

from collections.abc import Iterable

from indexer.duplicates import Duplicates, Holder, Pair
from indexer.era_pictures import EraPictures, overlay
from schemas.settings import Settings
from search.output.html import Markup, element
from search.report import charts
from search.report import queries as questions
from search.report.page import Page, behind, image_uri, swatches, table
from search.report.queries import Answers, none

PALETTE_COLORS = 120  # cubes of one palette that are drawn in three dimensions
PAIRS = 24  # copies shown


def palettes(page: Page, answers: Answers) -> None:
    """Colours of genres, eras and titles."""
    genres, eras = answers.rows(questions.GENRE_PALETTE), answers.rows(questions.ERA_PALETTE)
    if not genres and not eras:
        page.section("palettes", "Palettes", "", *none("Run `toonsearch colors` first."))
        return
    wanted = [row["genre"] for row in answers.rows(questions.GENRES)[:12]]
    genres = [row for name in wanted for row in genres if row["name"] == name]
    solid: dict[str, list[list[float]]] = {}
    for kind, rows in (("genre", genres), ("era", eras)):
        for row in rows:
            held = solid.setdefault(f"{kind} · {row['name']}", [])
            if len(held) < PALETTE_COLORS:
                held.append([row["r"], row["g"], row["b"], round(row["share"], 5)])
    page.data["palettes"] = solid
    empty = {"data": [], "layout": {}, "height": 460}
    spaces = []
    for space, label in (("rgb", "Red, green, blue"), ("hsv", "Hue, saturation, value")):
        number = len(page.charts)
        page.charts.append(dict(empty))
        spaces.append(
            element("figure", {"class": "chart"}, element("h3", None, label),
                    element("div", {"class": "plot", "data-chart": number, "data-space": space,
                                    "role": "img", "aria-label": label,
                                    "style": "height:460px"}),
                    behind(f"{questions.GENRE_PALETTE};\n{questions.ERA_PALETTE}"))
        )  # fmt: skip
    options = (element("option", {"value": name}, name) for name in solid)
    titles = answers.rows(questions.TITLE_PALETTE)
    page.section(
        "palettes", "Palettes",
        "The width of a colour is its share of the area. Below, each colour is a ball in space:"
        " turn it with the mouse.",
        element("div", {"class": "columns"},
                element("div", None, element("h3", None, "Genres"), swatches(genres),
                        behind(questions.GENRE_PALETTE)),
                element("div", None, element("h3", None, "Eras"), swatches(eras) if eras else
                        element("p", {"class": "empty"}, "no year is known"),
                        behind(questions.ERA_PALETTE)),
                element("div", None, element("h3", None, "The largest titles"), swatches(titles),
                        behind(questions.TITLE_PALETTE))),
        element("p", {"class": "controls"}, element("label", {"for": "palette-of"}, "Palette of"),
                element("select", {"id": "palette-of"}, *options)),
        element("div", {"class": "two"}, *spaces),
    )  # fmt: skip


def eras(page: Page, answers: Answers, settings: Settings) -> None:
    """Eras laid over each other."""
    rows = answers.rows(questions.ERA_PICTURES)
    if not rows:
        page.section("eras", "Eras", "", *none("No picture has a year."))
        return
    found = overlay(
        settings.layout, settings.decode.limits, [(row["era"], row["file"]) for row in rows]
    )
    parts: list[Markup] = [
        element("div", {"class": "eras"}, *(_era(page, era) for era in found)),
        behind(questions.ERA_PICTURES),
    ]
    years = answers.rows(questions.COLOR_BY_YEAR)
    if len(years) > 1:
        parts += [
            element("h3", None, "Palette drift: each dot in the mean colour of its year"),
            page.chart(charts.color_drift(years), "Colour by year", questions.COLOR_BY_YEAR),
        ]
    confusion = answers.rows(questions.ERA_CONFUSION)
    if len({row["genre"] for row in confusion}) > 1:
        parts += [
            element("h3", None, "Which periods are taken for which"),
            page.chart(charts.confusion(confusion, "era"), "Era confusion",
                       questions.ERA_CONFUSION),
        ]  # fmt: skip
    page.section(
        "eras", "Eras",
        "Up to 120 pictures of each era, squeezed into one square and laid over each other,"
        " and how often each level of red, green and blue occurs in them (logarithmic).", *parts,
    )  # fmt: skip


def _era(page: Page, era: EraPictures) -> Markup:
    three = [
        element("div", None, element(
            "img", {"src": image_uri(pixels), "alt": f"{name}, {era.era}"}), name)
        for name, pixels in (("mean", era.mean), ("median", era.median), ("mode", era.mode))
    ]  # fmt: skip
    return element(
        "article", None,
        element("h3", None, era.era, " ", element("small", None, f"{era.count} pictures")),
        element("div", {"class": "three"}, *three),
        page.chart(charts.channels(era.histogram), f"Levels of red, green and blue, {era.era}",
                   questions.ERA_PICTURES),
    )  # fmt: skip


def copies(page: Page, copies: Duplicates) -> None:
    """The same drawing twice."""

    def listed(pairs: Iterable[Pair]) -> Markup:
        return element("ul", {"class": "pairs"}, *(
            element("li", None,
                    element("div", None, *(page.picture(h.file, _holder(h))
                                           for h in (p.first, p.second))),
                    element("p", None, f"{_holder(p.first)} ~ {_holder(p.second)}",
                            element("small", None, f" · {p.correlation:.3f}, {p.bits} bits")))
            for p in pairs))  # fmt: skip

    parts: list[Markup] = []
    for heading, pairs, most in (
        ("Almost the same drawing, different authors", copies.copied, PAIRS),
        ("Almost the same drawing, same author", copies.near, PAIRS // 2),
    ):
        count = f"{heading}: {len(pairs):,}" + (f", the first {most}" if len(pairs) > most else "")
        parts += [element("h3", None, count), listed(pairs[:most])]
    parts.append(element("h3", None, f"The same bytes in several titles: {len(copies.exact):,}"))
    if copies.exact:
        parts.append(table(("title", "and", "…"), [
            [_holder(h) for h in group[:3]] for group in copies.exact[:20]]))  # fmt: skip
    parts.append(behind("-- not SQL: toonsearch duplicates --json"))
    page.section(
        "copies", "Near-duplicates and possible copies",
        "Perceptual hashes differ in at most 10 of 64 bits and grey thumbnails correlate above"
        " 0.98. A pair across authors may be a copy, a reprint or a wrong credit.", *parts,
    )  # fmt: skip


def _holder(holder: Holder) -> str:
    return holder.title + (f" ({', '.join(holder.authors)})" if holder.authors else "")


def coverage(page: Page, answers: Answers) -> None:
    """What became of every picture."""
    coverage = [
        (row["source"].rpartition("/")[2], row["status"], row["reason"], row["pictures_count"])
        for row in answers.rows(questions.COVERAGE)
    ]
    runs = [
        (row["command"], row["outcome"], f"{row['started']:%Y-%m-%d %H:%M}", row["counts"])
        for row in answers.rows(questions.RUNS)
    ]
    page.section(
        "coverage", "Coverage and failures", "",
        table(("source", "status", "reason", "pictures"), coverage), behind(questions.COVERAGE),
        *((element("h3", None, "Latest runs"),
           table(("command", "outcome", "started (UTC)", "counts"), runs),
           behind(questions.RUNS)) if runs else ()),
    )  # fmt: skip
