"""The gallery: answers as one self-contained HTML file.

No script, no request to anywhere, and a content policy that would refuse both. The file
can be mailed, printed, and opened years later.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from schemas.errors import InputError
from schemas.images import PictureLimits
from schemas.records import Answer, Hit, LabelProbability, Labels, TitleHit
from schemas.storage.fsio import replace_file, storage_error
from schemas.storage.layout import Layout
from search.inputs import QueryPicture
from search.output.text import percent
from search.output.thumbnails import Thumbnail, Thumbnails, ThumbnailSource

# --- HTML from values: everything that is not markup already is escaped.

VOID = frozenset({"img", "rect", "meta", "br"})


class Markup(str):
    """Text that is HTML and must not be escaped again."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Any value as HTML text; markup stays as it is, control characters vanish."""
    if isinstance(value, Markup):
        return value
    kept = "".join(c for c in str(value) if c >= " " or c in "\t\n")
    return Markup(html.escape(kept.encode("utf-8", "replace").decode("utf-8"), quote=True))


def element(tag: str, attributes: Mapping[str, object] | None = None, *children: object) -> Markup:
    """One element; attributes that are None are left out."""
    said = "".join(
        f' {name}="{text(value)}"'
        for name, value in (attributes or {}).items()
        if value is not None
    )
    if tag in VOID:
        return Markup(f"<{tag}{said}>")
    return Markup(f"<{tag}{said}>{joined(children)}</{tag}>")


def joined(parts: Iterable[object]) -> Markup:
    """Parts one after the other; those that are None are left out."""
    return Markup("".join(text(part) for part in parts if part is not None))


def link(url: str | None, label: object) -> Markup:
    """A link to a web page; any other address stays plain text."""
    if url is None or urlsplit(url).scheme not in ("http", "https"):
        return text(label)
    return element("a", {"href": url, "rel": "noopener noreferrer nofollow"}, label)


def bar(share: float, label: str) -> Markup:
    """A horizontal bar. SVG, because a strict content policy forbids inline styles."""
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}"
    return element(
        "svg",
        {"class": "bar", "viewBox": "0 0 100 4", "preserveAspectRatio": "none", "role": "img",
         "aria-label": label},
        Markup(f'<rect class="track" width="100" height="4"></rect>'
               f'<rect class="fill" width="{width}" height="4"></rect>'),
    )  # fmt: skip


# --- The words and bars of the gallery: who, how near, how sure.

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
            NOTHING_ALIKE if labels.is_out_of_distribution else f"The nearest is {best.label}.",
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
    only = ": how common each is in the index" if labels.is_out_of_distribution else ""
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


TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class GallerySection:
    """One query with its answer.

    `truth` says who really drew it, where that is known, `verdict` whether the answer was
    right; titles by the same `hand` are marked.
    """

    answer: Answer
    pictures: tuple[QueryPicture, ...]
    heading: str = ""
    truth: str = ""
    verdict: bool | None = None
    hand: str | None = None
    by: str = "title"


def check_target(path: Path) -> None:
    """Refuse a place where no file can be written, before any work is done.

    Errors:  InputError
    """
    if path.is_dir():
        raise InputError(f"{path} is a directory", f"Name a file, such as {path / 'similar.html'}.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the folder {path.absolute().parent} does not exist", "Create it first.")


def write_gallery(
    path: Path,
    sections: Sequence[GallerySection],
    *,
    layout: Layout,
    limits: PictureLimits,
    title: str = "Drawn alike",
    intro: str = "",
    facts: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a page with one part for each query, replacing the file atomically.

    Errors:  InputError when it cannot be written
    """
    check_target(path)
    page = render_gallery(
        sections, layout=layout, limits=limits, title=title, intro=intro, facts=facts
    )
    try:
        replace_file(path.absolute(), page.encode("utf-8"))
    except OSError as error:
        raise storage_error(error, str(path)) from error


def render_gallery(
    sections: Sequence[GallerySection],
    *,
    layout: Layout,
    limits: PictureLimits,
    title: str,
    intro: str = "",
    facts: Sequence[tuple[str, str]] = (),
    thumbnails: ThumbnailSource | None = None,
) -> str:
    """The page as text; the pictures come from `thumbnails`, or are decoded here."""
    thumbnails = thumbnails or Thumbnails(layout, limits)
    uses: Counter[str] = Counter()
    query_keys = [[thumbnails.add_query(p) for p in section.pictures] for section in sections]
    for section, keys in zip(sections, query_keys, strict=True):
        uses.update(keys)
        if len(sections) > 1:  # the contact sheet at the top
            uses.update(keys[:1])
        for hit in _hits(section):
            thumbnails.add_stored(hit.file)
            uses.update([hit.file] if hit.file else [])
    images = thumbnails.encoded(uses)
    page = _Page(images, len(sections) > 1)
    style = (TEMPLATES / "gallery.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return Template((TEMPLATES / "gallery.html").read_text("utf-8")).substitute(
        title=text(title),
        style=style,
        style_digest=digest,
        intro=element("p", {"class": "intro"}, intro) if intro else "",
        contents=page.contents(sections, query_keys),
        sections=joined(
            page.section(number, section, keys)
            for number, (section, keys) in enumerate(zip(sections, query_keys, strict=True), 1)
        ),
        figures=figures(facts),
        basis=_basis(sections),
    )


def _hits(section: GallerySection) -> list[Hit]:
    if section.by == "picture":
        return list(section.answer.pictures)
    return [hit for title in section.answer.titles for hit in title.hits]


class _Page:
    """Builds the parts of one page around its encoded pictures."""

    def __init__(self, images: dict[str, Thumbnail], several: bool) -> None:
        self.images, self.several = images, several

    def picture(self, key: str | None, alt: str, kind: str) -> Markup:
        made = self.images.get(key) if key else None
        if made is None:
            return element("span", {"class": f"{kind} missing", "role": "img",
                                    "aria-label": f"{alt} (its file is gone)"})  # fmt: skip
        said = {"class": kind, "src": made.uri, "width": made.width_px, "height": made.height_px}
        return element("img", {**said, "alt": alt, "decoding": "async"})

    def contents(self, sections: Sequence[GallerySection], keys: Sequence[Sequence[str]]) -> Markup:
        """A contact sheet of the queries, when there are several."""
        if not self.several:
            return Markup("")
        entries = [
            element(
                "a",
                {"href": f"#query-{number}"},
                self.picture(own[0] if own else None, "", "thumb"),
                element("span", None, section.heading or _names(section)),
            )
            for number, (section, own) in enumerate(zip(sections, keys, strict=True), 1)
        ]
        return element("nav", {"class": "contents", "aria-label": "Queries"}, *entries)

    def section(self, number: int, section: GallerySection, keys: Sequence[str]) -> Markup:
        """One query: the picture and its labels on the left, what was found on the right."""
        answer = section.answer
        names = _names(section)
        asked = element(
            "figure",
            {"class": "asked"},
            *(
                element("span", {"class": "mat"}, self.picture(key, f"Query {_name(p)}", "query"))
                for key, p in zip(keys, section.pictures, strict=True)
            ),
            element("figcaption", None, names),
        )  # fmt: skip
        left = element(
            "div", {"class": "question"}, asked, conclusion(answer.labels),
            truth(section.truth, section.verdict),
            *label_groups(answer.labels),
        )  # fmt: skip
        cards = (
            [self.picture_card(rank, hit, section) for rank, hit in enumerate(answer.pictures, 1)]
            if section.by == "picture"
            else [self.title_card(title, section) for title in answer.titles]
        )
        found = (
            element("ol", {"class": "cards"}, *cards)
            if cards
            else element("p", {"class": "empty"}, "Nothing was found.")
        )
        notes = element("p", {"class": "notes"}, "; ".join(answer.notes)) if answer.notes else None
        heading = section.heading or ("" if not self.several else names)
        return element(
            "section",
            {"id": f"query-{number}", "aria-label": heading or f"Query {names}"},
            element("h2", None, heading) if heading else None,
            element("div", {"class": "answer"}, left,
                    element("div", {"class": "found"}, found, notes)),
        )  # fmt: skip

    def title_card(self, title: TitleHit, section: GallerySection) -> Markup:
        """A title with the pictures that carried it."""
        by = ", ".join(title.authors)
        alt = f"Picture from {title.name}" + (f" by {by}" if by else "")
        first, *others = title.hits
        small = [self.picture(hit.file, alt, "small") for hit in others]
        return element(
            "li",
            {"class": "card same" if section.hand in title.authors else "card"},
            element(
                "div", {"class": "evidence"}, self.picture(first.file, alt, "large"),
                element("div", {"class": "others"}, *small) if small else None,
            ),
            element(
                "div", {"class": "words"},
                element("h3", None, element("span", {"class": "rank"}, title.rank), " ",
                        link(title.url, title.name)),
                element("p", {"class": "by"}, by or "author not known", tag(title, section.hand)),
                element("p", {"class": "meta"}, meta(title.genres, title.year)),
                nearness(title.similarity, title.percentile),
            ),
        )  # fmt: skip

    def picture_card(self, rank: int, hit: Hit, section: GallerySection) -> Markup:
        """One picture with the title that it is from."""
        title = next(t for t in section.answer.titles if t.title_id == hit.title_id)
        by = ", ".join(title.authors)
        alt = f"Picture from {title.name}" + (f" by {by}" if by else "")
        return element(
            "li",
            {"class": "card same" if section.hand in title.authors else "card"},
            element("div", {"class": "evidence"}, self.picture(hit.file, alt, "large")),
            element(
                "div", {"class": "words"},
                element("h3", None, element("span", {"class": "rank"}, rank), " ",
                        link(title.url, title.name)),
                element("p", {"class": "by"}, by or "author not known", tag(title, section.hand)),
                element("p", {"class": "meta"}, meta(title.genres, hit.year or title.year)),
                nearness(hit.similarity, hit.percentile),
            ),
        )  # fmt: skip


def _names(section: GallerySection) -> str:
    return ", ".join(_name(picture) for picture in section.pictures)


def _name(picture: QueryPicture) -> str:
    """The file's name alone: a page that is passed on should not tell where it lay."""
    return picture.name.rpartition("/")[2]


def _basis(sections: Sequence[GallerySection]) -> Markup:
    """What the answers rest on."""
    lines = dict.fromkeys(
        f"Index {a.generation_id}: {a.pictures_count:,} pictures, model {a.model_id},"
        f" preprocessing {a.preprocessing}."
        for a in (section.answer for section in sections)
    )
    return joined(element("p", None, line) for line in lines)
