"""HTML from values: everything that is not markup already is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

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
