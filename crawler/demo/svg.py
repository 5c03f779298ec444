"""What an SVG says about itself: author, date, licence, and whether it lacks a picture.

The files may be anybody's. Nothing reads them as XML, so no entity is ever expanded and no
other file is opened; a bounded number of bytes and characters is read.
"""

from __future__ import annotations

import codecs
import html
import re
from dataclasses import dataclass

MAX_BYTES = 1024 * 1024
MAX_METADATA_CHARS = 64 * 1024


def _element(name: str) -> re.Pattern[str]:
    return re.compile(rf"<{name}\b[^<>]*>(.{{0,1000}}?)</{name}\s*>", re.DOTALL)


_CREATOR, _NAME, _DATE = _element("dc:creator"), _element("dc:title"), _element("dc:date")
_ENTITY = re.compile(r"&[A-Za-z][\w.-]{0,40};")
_LICENSE = re.compile(r"<cc:license\b[^<>]*resource\s*=\s*[\"']([^\"'<>]{1,1000})")
_ENCODING = re.compile(rb"<\?xml[^>]{1,200}encoding\s*=\s*[\"']([\w.-]{1,40})")
_LINKED = re.compile(rb"<image\b[^<>]{0,2000}?href\s{0,9}=\s{0,9}[\"'](?!data:|#)[^\"'\s]")


@dataclass(frozen=True)
class SvgMetadata:
    """The metadata of one file, as written but for white space; "" where absent."""

    author: str = ""
    date: str = ""
    license_url: str = ""


def read_metadata(data: bytes) -> SvgMetadata:
    """The metadata in the first megabyte of an SVG; empty fields when there is none.

    Never fails: a file that is no SVG has no metadata. Of several authors the first counts.
    """
    text = _decode(data[:MAX_BYTES])
    begin = text.find("<dc:")
    if begin < 0:
        return SvgMetadata()
    text = text[begin : begin + MAX_METADATA_CHARS].partition("</metadata")[0]
    credits = [_plain(_NAME.search(found) or found) for found in _CREATOR.findall(text)]
    dates, licenses = _DATE.findall(text), _LICENSE.findall(text)
    return SvgMetadata(
        author=next(filter(None, credits), ""),
        date=next(filter(None, map(_plain, dates)), ""),
        license_url=licenses[0] if licenses else "",
    )


def shows_other_file(data: bytes) -> bool:
    """Whether an SVG shows a picture of another file; where that is not at hand, a renderer
    draws a sign in its place."""
    return _LINKED.search(data[:MAX_BYTES]) is not None


def _decode(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    declared = _ENCODING.match(data)
    try:
        return data.decode(declared[1].decode() if declared else "utf-8", "replace")
    except (LookupError, UnicodeError):
        return ""


def _plain(found: str | re.Match[str]) -> str:
    """Text without tags; HTML's entities are resolved, all others go."""
    text = re.sub(r"<[^<>]*>", " ", found if isinstance(found, str) else found[1])
    text = _ENTITY.sub(lambda one: "" if html.unescape(one[0]) == one[0] else one[0], text)
    return " ".join(html.unescape(text).split())
