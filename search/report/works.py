"""Sections about works and people: size, genres, titles, the map of authors, drift."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from indexer.style_map import project
from search.output.html import Markup, element
from search.report import charts
from search.report import queries as questions
from search.report.page import Page, behind, tiles
from search.report.queries import Answers, Row, none


def size(page: Page, answers: Answers) -> None:
    """How much there is, and how new."""
    n = answers.one(questions.COUNTS)
    stored = n["stored"] or 0

    def of(count: int) -> str:
        return f"{100 * count / stored:.0f} % of those stored" if stored else ""

    years = f"{n['first_year']} to {n['last_year']}" if n["first_year"] else "none known"
    latest = n["latest"]
    age = ""
    if latest is not None:
        days = (datetime.now(UTC).replace(tzinfo=None) - latest).days
        age = "today" if days < 1 else f"{days} days ago"
    facts = [
        ("Titles", f"{n['titles']:,}", ""), ("Authors", f"{n['authors']:,}", ""),
        ("Pictures", f"{n['pictures']:,}", f"{stored:,} stored"),
        ("With a vector", f"{n['embedded']:,}", of(n["embedded"])),
        ("With colours", f"{n['coloured']:,}", of(n["coloured"])),
        ("Judged", f"{n['judged']:,}", of(n["judged"])),
        ("Years", years, ""),
        ("Latest picture", f"{latest:%Y-%m-%d}" if latest else "-", age),
    ]  # fmt: skip
    fresh = answers.rows(questions.FRESHNESS)
    chart = None
    if len(fresh) > 1:
        chart = page.chart(charts.freshness(fresh), "Pictures by day", questions.FRESHNESS)
    page.section("size", "Size and freshness", "", tiles(facts), behind(questions.COUNTS), chart)


def genres(page: Page, answers: Answers, hues: dict[str, str]) -> None:
    """Genres, over all and year by year."""
    rows = answers.rows(questions.GENRE_BY_YEAR)
    listed = answers.rows(questions.GENRES)
    parts: list[Markup] = []
    if listed:
        shown = listed[:14]
        figure = charts.bars(
            [g["genre"] for g in shown], [g["pictures_count"] for g in shown], hues
        )
        parts += [element("h3", None, "Pictures of each genre"),
                  page.chart(figure, "Pictures of each genre", questions.GENRES)]  # fmt: skip
    if rows:
        parts += [
            element("h3", None, "Share of each genre, year by year"),
            page.chart(charts.genre_by_year(rows, hues), "Genres by year", questions.GENRE_BY_YEAR),
            element("h3", None, "Pictures of each year"),
            page.chart(
                charts.pictures_per_year(rows), "Pictures of each year", questions.GENRE_BY_YEAR
            ),
        ]
    page.section(
        "genres", "Genre by year",
        "Years with few pictures say little: see how many there are below.", *parts or none(),
    )  # fmt: skip


def titles(page: Page, answers: Answers) -> None:
    """Which genres are confused, and the titles at both ends."""
    confusion = answers.rows(questions.CONFUSION)
    if not confusion:
        page.section("titles", "Distinctive and ambiguous titles", "", *none(
            "No picture has been judged: run `toonsearch judge`."))  # fmt: skip
        return
    parts: list[Markup] = [
        element("h3", None, "Which genres are taken for which"),
        page.chart(charts.confusion(confusion, "genre"), "Genre confusion", questions.CONFUSION),
        element("h3", None, "Most distinctive: surely of their genre"),
    ]
    by_genre: dict[str, list[Row]] = {}
    for row in answers.rows(questions.DISTINCTIVE):
        by_genre.setdefault(row["genre"], []).append(row)
    cards = [
        _card(page, row, f"{genre} {100 * row['own_probability']:.0f} %")
        for genre, listed in by_genre.items()
        for row in listed[:2]
    ]
    parts += [element("ul", {"class": "cards"}, *cards), behind(questions.DISTINCTIVE)]
    pairs = answers.rows(questions.CONFUSED_PAIRS)
    ambiguous = answers.rows(questions.AMBIGUOUS)
    parts.append(element("h3", None, "Most ambiguous: between two genres that are confused"))
    for pair in pairs:
        one, other = pair["one"], pair["other"]
        sides = []
        for true, rival in ((one, other), (other, one)):
            listed = [
                _card(page, row, f"{true} {100 * row['own_probability']:.0f} %,"
                      f" {rival} {100 * row['rival_probability']:.0f} %")
                for row in ambiguous if (row["genre"], row["rival"]) == (true, rival)
            ]  # fmt: skip
            sides.append(
                element("div", None, element("h4", None, f"{true}, nearly {rival}"),
                        element("ul", {"class": "cards"}, *listed[:4])
                        if listed else element("p", {"class": "empty"}, "none"))
            )  # fmt: skip
        parts.append(element("div", {"class": "versus"}, *sides))
    parts.append(behind(f"{questions.CONFUSED_PAIRS};\n\n{questions.AMBIGUOUS}"))
    page.section(
        "titles", "Distinctive and ambiguous titles",
        "Each picture was judged with its own title hidden: how alike it is to other titles of"
        " its genre, and to those of the genre next to it.", *parts,
    )  # fmt: skip


def _card(page: Page, row: Row, said: str) -> Markup:
    by = f" by {row['author']}" if row["author"] else ""
    return element(
        "li", None, page.picture(row["file"], f"From {row['title']}{by}"),
        element("p", None, row["title"], element("small", None, row["author"] or ""),
                element("small", None, said)),
    )  # fmt: skip


def authors(page: Page, rows: Sequence[Row], hues: dict[str, str]) -> None:
    """Authors on a plane."""
    if len(rows) < 3:
        page.section("map", "Map of authors", "", *none())
        return
    vectors = np.asarray([row["style"] for row in rows], dtype=np.float32)
    figure = charts.style_map(rows, project(vectors), hues)
    part = page.chart(figure, "Map of authors by style", questions.AUTHOR_STYLES)
    page.charts[-1] |= {"authors": True, "zoom": True}
    keys: dict[str, str] = {}
    page.data["authors"] = [
        {
            "name": row["author"],
            "said": _said_of(row),
            "files": [keys.setdefault(file, str(len(keys))) for file in row["files"]
                      if file in page.thumbnails],
        }
        for row in rows
    ]  # fmt: skip
    page.data["thumbnails"] = {key: page.thumbnails[file] for file, key in keys.items()}
    page.section(
        "map", "Map of authors",
        "Near means drawn alike; directions and empty space mean nothing. The size of a dot is"
        " how much of the author the catalog holds, its colour the main genre. Hover shows"
        " drawings; drag zooms in, a double click goes back.", part,
    )  # fmt: skip


def _said_of(row: Row) -> str:
    said = f"{row['pictures_count']:,} pictures"
    if row["genre"]:
        said += f", {row['genre']}"
    if row["first_year"]:
        first, last = row["first_year"], row["last_year"]
        said += f", {first}" + (f"-{last}" if last != first else "")
    return said


def drift(page: Page, answers: Answers) -> None:
    """Authors over the years."""
    rows = answers.rows(questions.DRIFT)
    parts = none("No author has three pictures in each of two years.")
    if rows:
        parts = [page.chart(charts.drift(rows), "Style drift of authors", questions.DRIFT)]
    page.section(
        "drift", "Style drift",
        "The authors whose drawing moved most: how like their first year each later year is."
        " 1 is no change. Years with fewer than three pictures are left out.", *parts,
    )  # fmt: skip
