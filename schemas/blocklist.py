"""Who and what must stay out: what `toonsearch forget` removed, and the operator's file.

The list holds marks (keyed digests) instead of names, so that what was forgotten does not
live on in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

from schemas.errors import StorageError, UsageError
from schemas.names import author_key, without_accents
from schemas.storage.fsio import replace_file, storage_errors, unreachable
from schemas.storage.layout import Layout

FORMAT = 1
KINDS = ("author", "title", "picture")
PLATFORMS = ("naver:", "webtoons:", "melon:")
"""What ids of crawled titles begin with."""


def name_forms(name: str) -> set[str]:
    """A name without what spellings differ in, beyond its key: accents, spaces, punctuation
    and the order of its words. Two names with a form in common are one.

    >>> name_forms("Kim  Min-Ho") & name_forms("Ｋim Minho")
    {'kimminho'}
    """
    key = author_key(name)
    forms = set()
    for text in (key, without_accents(key)):
        words = ["".join(c for c in word if c.isalnum()) for word in text.split()]
        forms |= {"".join(words), " ".join(sorted(word for word in words if word))}
    return forms - {""} or {key}


def marks_of(kind: str, value: str) -> set[str]:
    """The marks of an author's name, a title's id or a picture's id."""
    forms = name_forms(value) if kind == "author" else {value}
    key = f"toonsearch {kind}".encode()
    return {blake2b(form.encode(), digest_size=16, key=key).hexdigest() for form in forms}


@dataclass(frozen=True)
class BlockList:
    """Marks by kind. `refused` are generations that still hold what was forgotten, and
    `pending` says that files of it may still lie about."""

    marks: dict[str, frozenset[str]] = field(
        default_factory=lambda: dict.fromkeys(KINDS, frozenset())
    )
    refused: frozenset[str] = frozenset()
    pending: bool = False

    @classmethod
    def read(cls, layout: Layout) -> BlockList:
        """The list of a data root, empty while nothing was forgotten.

        Errors:  InputError: a list that cannot be read must not mean that nobody objects
        """
        try:
            data = layout.blocked.read_bytes()
        except FileNotFoundError:
            return cls()
        except OSError as error:
            closed = unreachable(error, "the block list")
            raise closed or _damaged(error.strerror or str(error)) from error
        try:
            body = json.loads(data)
            if _signed({k: v for k, v in body.items() if k != "digest"}) != data:
                raise ValueError("its digest does not match")
            if body["format"] != FORMAT:
                raise ValueError(f"it has format {body['format']}, this program reads {FORMAT}")
            return cls(
                {kind: frozenset(body["marks"][kind]) for kind in KINDS},
                frozenset(body["refused"]),
                bool(body["pending"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(str(error)) from error

    @classmethod
    def with_file(cls, layout: Layout, file: str) -> BlockList:
        """The list of a data root with what a text file adds (an empty name: nothing): one
        author's name, or one title id such as `naver:183559`, on each line.

        Errors:  UsageError, InputError: a list that cannot be read must not mean that nobody
                 objects
        """
        blocked = cls.read(layout)
        if not file:
            return blocked
        try:
            lines = Path(file).expanduser().read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the block list {file} cannot be read ({error})") from error
        entries = [entry for line in lines if (entry := line.partition("#")[0].strip())]
        titles = [entry for entry in entries if entry.startswith(PLATFORMS)]
        names = [entry for entry in entries if not entry.startswith(PLATFORMS)]
        return blocked.adding("title", titles).adding("author", names)

    def write(self, layout: Layout) -> None:
        """Replace the list. Errors:  InputError when the disk refuses"""
        body = asdict(self)
        body["marks"] = {kind: sorted(self.marks[kind]) for kind in KINDS}
        body["refused"] = sorted(self.refused)
        with storage_errors("the block list"):
            layout.root.mkdir(parents=True, exist_ok=True)
            replace_file(layout.blocked, _signed({"format": FORMAT, **body}))

    def adding(self, kind: str, values: Iterable[str]) -> BlockList:
        marks = self.marks[kind].union(*(marks_of(kind, value) for value in values))
        return replace(self, marks={**self.marks, kind: marks})

    def blocks(self, kind: str, value: str) -> bool:
        """Whether an author's name, a title's id or a picture's id is on the list."""
        return bool(self.marks[kind]) and not self.marks[kind].isdisjoint(marks_of(kind, value))

    def __bool__(self) -> bool:
        return any(self.marks.values())

    def blocks_title(self, title_id: str, authors: Iterable[str]) -> bool:
        """Whether a title or one of its authors is blocked."""
        return self.blocks("title", title_id) or any(
            self.blocks("author", name) for name in authors
        )


def _signed(body: dict[str, object]) -> bytes:
    """The list with a digest of itself: as 0.1.0 wrote it, since it can never be made again."""
    plain = json.dumps(body, sort_keys=True, indent=1).encode()
    digest = blake2b(plain, digest_size=16).hexdigest()
    return json.dumps({**body, "digest": digest}, sort_keys=True, indent=1).encode() + b"\n"


def _damaged(reason: str) -> StorageError:
    return StorageError(
        f"the block list cannot be read ({reason})",
        "Restore forgotten.json from a backup; nothing is imported without it.",
    )
