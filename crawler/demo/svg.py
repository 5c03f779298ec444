"""What an SVG says about itself: author, title, date, licence.

Only the metadata block is wanted, from files that anybody may have written. The parser
never expands an entity, never opens anything else, reads a bounded number of bytes and
stops at the end of the metadata; a file that is not sound XML is searched by pattern.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from xml.parsers import expat

MAX_BYTES = 1024 * 1024
"""Bytes of a file that are read; in all of Debian's clip art the metadata ends within 6 KB."""

_CHUNK_BYTES = 16 * 1024
_MAX_FIELD_CHARS = 1000
"""No honest name, title or date is longer."""

_NAMESPACES = {
    "http://purl.org/dc/elements/1.1/": "dc:",
    "http://web.resource.org/cc/": "cc:",
    "http://creativecommons.org/ns#": "cc:",
}
_ROOFS = frozenset({"dc:creator", "dc:publisher", "dc:rights", "dc:contributor"})
"""Elements whose dc:title is a person's name; the title of the work has none above it."""


@dataclass(frozen=True)
class SvgMetadata:
    """The metadata of one file, as written but for white space; "" where absent."""

    author: str = ""
    title: str = ""
    date: str = ""
    license_url: str = ""


class _Unsound(Exception):
    """The document declares entities, so it is not parsed as XML."""


class _Finished(Exception):
    """All metadata has been seen; the drawing itself is of no interest."""


@dataclass
class _Reader:
    """Collects the wanted texts while expat walks through the document."""

    texts: dict[str, str] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _done: set[str] = field(default_factory=set)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        space, _, local = tag.rpartition(" ")
        name = _NAMESPACES.get(space, "") + local
        self._open.append(name)
        if name == "cc:license":
            for key, value in attributes.items():
                if key.endswith("resource"):
                    self.texts.setdefault("license", value[:_MAX_FIELD_CHARS])

    def text(self, data: str) -> None:
        wanted = self._field()
        if wanted is not None and wanted not in self._done:
            kept = self.texts.get(wanted, "")
            self.texts[wanted] = kept + data[: _MAX_FIELD_CHARS - len(kept)]

    def end(self, _tag: str) -> None:
        wanted = self._field()
        if wanted is not None and self.texts.get(wanted, "").strip():
            self._done.add(wanted)  # of several authors or titles, the first is kept
        if self._open.pop() == "metadata":
            raise _Finished

    def _field(self) -> str | None:
        """Which text the innermost open element holds."""
        name = self._open[-1] if self._open else ""
        if name == "dc:title":
            roofs = _ROOFS.intersection(self._open)
            return "author" if "dc:creator" in roofs else None if roofs else "title"
        return {"dc:creator": "author_text", "dc:date": "date"}.get(name)


def read_metadata(data: bytes) -> SvgMetadata:
    """The metadata in the first megabyte of an SVG; empty fields when there is none.

    Never fails: a file that is no SVG has no metadata.
    """
    data = data[:MAX_BYTES]
    try:
        texts = _parse(data)
    except (_Unsound, expat.ExpatError, UnicodeError, LookupError, ValueError):
        texts = _search(data)
    tidy = {key: " ".join(text.split()) for key, text in texts.items()}
    return SvgMetadata(
        author=tidy.get("author") or tidy.get("author_text", ""),
        title=tidy.get("title", ""),
        date=tidy.get("date", ""),
        license_url=tidy.get("license", ""),
    )


def _parse(data: bytes) -> dict[str, str]:
    """Walk through the XML up to the end of its metadata."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    # Refusing the declaration is what makes "billion laughs" and file reading impossible:
    # no entity is ever defined, internal or external.
    parser.EntityDeclHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        for begin in range(0, len(data), _CHUNK_BYTES):
            parser.Parse(data[begin : begin + _CHUNK_BYTES], False)
        if len(data) < MAX_BYTES:
            parser.Parse(b"", True)
    except _Finished:
        pass
    return reader.texts


def _refuse(*_declaration: object) -> int:
    raise _Unsound


_CREATOR = re.compile(r"<dc:creator\b[^>]{0,500}>(.{0,3000}?)</dc:creator>", re.DOTALL)
_OTHER_ROOF = re.compile(
    r"<dc:(creator|publisher|rights|contributor)\b[^>]{0,500}>.{0,3000}?</dc:\1>", re.DOTALL
)
_TITLE = re.compile(r"<dc:title\b[^>]{0,500}>([^<]{0,1000})</dc:title>")
_DATE = re.compile(r"<dc:date\b[^>]{0,500}>([^<]{0,1000})</dc:date>")
_LICENSE = re.compile(r"<cc:license\b[^>]{0,500}?resource=[\"']([^\"'<>]{0,1000})[\"']")


def _search(data: bytes) -> dict[str, str]:
    """The same fields by pattern, from text that is not sound XML.

    All repetitions are bounded, so no text can make the search slow. Entities that the
    document defines for itself stay unexpanded and are dropped.
    """
    text = data[: 64 * 1024].decode("utf-8", errors="replace")
    rest = _OTHER_ROOF.sub(" ", text)
    found = {}
    if creator := _CREATOR.search(text):
        inner = _TITLE.search(creator.group(1))
        found["author"] = inner.group(1) if inner else re.sub(r"<[^>]*>", " ", creator.group(1))
    for key, pattern in (("title", _TITLE), ("date", _DATE), ("license", _LICENSE)):
        if hit := pattern.search(rest):
            found[key] = hit.group(1)
    return {key: re.sub(r"&[\w.-]+;", " ", html.unescape(value)) for key, value in found.items()}
