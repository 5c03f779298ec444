"""Values as sites send them, made sure of: a wrong type is nothing, never a crash."""

from __future__ import annotations

import html
import unicodedata
from typing import Any


def clean(value: Any) -> str | None:
    """A name as people read it: entities resolved, white space folded, None when empty."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    text = unicodedata.normalize("NFC", html.unescape(str(value)))
    return " ".join(text.split()) or None


def prose(value: Any) -> str | None:
    """A longer text, whose line breaks stay."""
    if not isinstance(value, str):
        return None
    lines = (" ".join(line.split()) for line in html.unescape(value).splitlines())
    return "\n".join(lines).strip() or None


def https(url: Any) -> str | None:
    """An absolute https address of a picture or page, None when there is none."""
    text = url.strip() if isinstance(url, str) else ""
    if text.startswith("//"):
        return "https:" + text
    if text.startswith("http://"):
        return "https://" + text[7:]
    return text if text.startswith("https://") else None


def number(value: Any) -> float | None:
    """A score; 0 is what sites send when there is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6:
        return float(value)
    return None


def whole(value: Any) -> int | None:
    """A non-negative 32-bit number, such as an episode's."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return value if good else None


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object, empty when it is something else."""
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> list[dict[str, Any]]:
    """The objects of a JSON list, empty when it is something else."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
