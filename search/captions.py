"""The words and bars of the gallery: who, how near, how sure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from schemas.records import LabelProbability, Labels, TitleHit
from search.markup import Markup, bar, element, joined
from search.table import percent

SHOWN_LABEL = 0.005  # below half a percent a bar shows nothing
FULL_BAR = 5.0  # decades: a bar is full at 99.999 %


def tag(title: TitleHit, hand: str | None) -> Markup | None:
    same = hand is not None and hand in title.authors
    return joined([" ", element("span", {"class": "tag"}, "same hand")]) if same else None


def meta(genres: Sequence[str], year: int | None) -> str:
    return " · ".join([*genres[:2], *([str(year)] if year else [])])


def nearness(similarity: float, percentile: float) -> Markup:
    """How near, on a scale by decades: 90, 99, 99.9 %, because all hits are near 100."""
    filled = -math.log10(max(1.0 - percentile / 100.0, 10.0**-FULL_BAR)) / FULL_BAR
    said = f"nearer than {percent(percentile)} of pairs by different hands"
    return element(
        "div",
        {"class": "near", "title": f"cosine {similarity:.3f}; {said}"},
        bar(filled, said),
        element("span", None, element("b", None, percent(percentile)), f" · {similarity:.3f}"),
    )


NOTHING_ALIKE = "Nothing in it is drawn alike."


def conclusion(labels: Labels) -> Markup | None:
    """The answer in one sentence."""
    if not labels.authors:
        return None
    best = labels.authors[0]
    if labels.unknown_author > 0.5:
        return element(
            "p", {"class": "verdict"}, element("strong", None, "A hand that is not in the index"),
            f" ({share(labels.unknown_author)}). ",
            NOTHING_ALIKE if labels.is_foreign else f"The nearest is {best.label}.",
        )  # fmt: skip
    return element(
        "p", {"class": "verdict"}, "Looks like ", element("strong", None, best.label),
        f" ({share(best.probability)}).",
    )  # fmt: skip


def truth(text: str, verdict: bool | None) -> Markup | None:
    if not text:
        return None
    mark = None
    if verdict is not None:
        word = "Right" if verdict else "Wrong"
        mark = joined([element("span", {"class": f"mark {word.lower()}"}, word), " "])
    return element("p", {"class": "truth"}, mark, f"In truth {text}.")


def figures(facts: Sequence[tuple[str, str]]) -> Markup:
    """Numbers over all queries, as a table."""
    if not facts:
        return Markup("")
    rows = (
        element("tr", None, element("th", {"scope": "row"}, what), element("td", None, figure))
        for what, figure in facts
    )
    return element("table", {"class": "figures"}, element("tbody", None, *rows))


def share(probability: float) -> str:
    return f"{probability * 100:.0f}\u00a0%"  # the sign stays with its number


def label_groups(labels: Labels) -> list[Markup]:
    authors: list[LabelProbability] = []
    if labels.authors:
        none = LabelProbability("an unknown hand", labels.unknown_author)
        first = labels.unknown_author > 0.5
        authors = [none, *labels.authors] if first else [*labels.authors, none]
    only = ": how common each is in the index" if labels.is_foreign else ""
    groups = (("Hand", authors), (f"Genre{only}", labels.genres), (f"Era{only}", labels.eras))
    return [
        element(
            "div", {"class": "labels"}, element("h4", None, heading),
            element("dl", None, *(
                element("div", None, element("dt", None, one.label),
                        element("dd", None, bar(one.probability, share(one.probability)),
                                element("span", None, share(one.probability))))
                for one in group if one.probability >= SHOWN_LABEL
            )),
        )
        for heading, group in groups if group
    ]  # fmt: skip
