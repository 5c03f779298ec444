"""What an SVG says about itself: author, title, date, licence.

Only the metadata block is wanted, from files that anybody may have written. The parser never
expands an entity, never opens anything else, reads a bounded number of bytes and stops at the
end of the metadata; of a file that is not sound XML it takes what comes before the error.
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
_ENTITY = re.compile(rb"&[A-Za-z][\w.-]{0,40};")
_ENVELOPES = frozenset({"dc:creator", "dc:publisher", "dc:rights", "dc:contributor"})
"""Elements whose dc:title is a person's name; the title of the drawing has none above it."""


@dataclass(frozen=True)
class SvgMetadata:
    """The metadata of one file, as written but for white space; "" where absent."""

    author: str = ""
    title: str = ""
    date: str = ""
    license_url: str = ""


class _Stop(Exception):
    """All metadata has been read, or the document declares entities of its own."""


@dataclass
class _Reader:
    """Collects the wanted texts while expat walks through the document."""

    texts: dict[str, str] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _done: set[str] = field(default_factory=set)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._open.append(tag)
        if tag == "cc:license":
            for key, value in attributes.items():
                if key.endswith("resource"):
                    self.texts.setdefault("license", value[:_MAX_FIELD_CHARS])

    def text(self, data: str) -> None:
        wanted = self._field()
        if wanted is not None and wanted not in self._done:
            before = self.texts.get(wanted, "")
            self.texts[wanted] = before + data[: _MAX_FIELD_CHARS - len(before)]

    def end(self, _tag: str) -> None:
        wanted = self._field()
        if wanted is not None and self.texts.get(wanted, "").strip():
            self._done.add(wanted)  # of several authors or titles, the first counts
        if self._open.pop() == "metadata":
            raise _Stop

    def _field(self) -> str | None:
        """Which text the innermost open element holds."""
        tag = self._open[-1] if self._open else ""
        if tag == "dc:title":
            above = _ENVELOPES.intersection(self._open)
            return "author" if "dc:creator" in above else None if above else "title"
        return {"dc:creator": "author_text", "dc:date": "date"}.get(tag)


def read_metadata(data: bytes) -> SvgMetadata:
    """The metadata in the first megabyte of an SVG; empty fields when there is none.

    Never fails: a file that is no SVG has no metadata.
    """
    texts = _parse(_without_entities(data[:MAX_BYTES]))
    tidy = {key: " ".join(text.split()) for key, text in texts.items()}
    return SvgMetadata(
        author=tidy.get("author") or tidy.get("author_text", ""),
        title=tidy.get("title", ""),
        date=tidy.get("date", ""),
        license_url=tidy.get("license", ""),
    )


def _without_entities(data: bytes) -> bytes:
    """The document without its declarations; HTML's entities become text, all others go."""
    begin = data.find(b"<!DOCTYPE")
    end = data.find(b"<svg", begin)
    if 0 <= begin < end:
        data = data[:begin] + data[end:]

    def text(found: re.Match[bytes]) -> bytes:
        entity = found[0].decode("latin-1")
        plain = html.unescape(entity)
        return b"" if plain == entity else found[0] if plain in "&<>\"'" else plain.encode()

    return _ENTITY.sub(text, data)


def _parse(data: bytes) -> dict[str, str]:
    """Walk through the XML up to the end of its metadata, or to the first error."""
    reader = _Reader()
    parser = expat.ParserCreate()
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
    except (_Stop, expat.ExpatError, UnicodeError, LookupError, ValueError):
        pass
    return reader.texts


def _refuse(*_declaration: object) -> int:
    raise _Stop
