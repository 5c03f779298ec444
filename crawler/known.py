"""What the catalog knows of the files of one source, and which keys its rows hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from crawler.pictures import CheckedPicture
from schemas.catalog import Catalog
from schemas.layout import Layout
from schemas.pictures import Reason
from schemas.records import Picture

if TYPE_CHECKING:
    from crawler.intake import Item


class KnownFile(NamedTuple):
    """What the catalog says of one file."""

    stamp: str
    title_id: str
    status: str
    reason: str | None
    file: str | None
    bytes_count: int | None

    def is_stored(self, layout: Layout) -> bool:
        """Whether the stored file, where there should be one, is there in its length."""
        if self.file is None:
            return True
        try:
            found = layout.picture(self.file).stat().st_size
        except OSError:
            return False
        return self.bytes_count is None or found == self.bytes_count


class KnownFiles:
    """What the catalog knows of a source, and which keys other rows hold."""

    def __init__(self, catalog: Catalog, source: str) -> None:
        self.catalog, self.source = catalog, source
        columns = [
            "picture_id", "title_id", "source", "source_path", "source_stamp", "status", "reason",
            "file", "bytes_count",
        ]  # fmt: skip
        self.known: dict[str, KnownFile] = {}
        self.keys: dict[str, list[tuple[str, str]]] = {}
        self.holder: dict[tuple[str, str], tuple[str, str]] = {}
        for picture, title, owner, path, stamp, status, reason, file, size in zip(
            *(column.to_pylist() for column in catalog.read("pictures", columns).columns),
            strict=True,
        ):
            self.holder[picture, title] = (owner, path)
            if owner == source:
                self.known[path] = KnownFile(stamp, title, status, reason, file, size)
                self.keys.setdefault(path, []).append((picture, title))

    def release(self, paths: Iterable[str]) -> None:
        """Give up the keys that these files hold, for copies of them to take over."""
        mine = {(self.source, path) for path in paths}
        self.holder = {key: owner for key, owner in self.holder.items() if owner not in mine}

    def row(self, item: Item, stamp: str, facts: CheckedPicture) -> Picture:
        """The file's row. A second file with the same bytes in the same title becomes a
        row of its own, skipped as a duplicate, so that every file stays accounted for."""
        title_id = item.title.title_id
        me = (self.source, item.source_path)
        if self.holder.get((facts.picture_id, title_id), me) != me:
            mark = hashlib.sha256("\n".join(me).encode()).hexdigest()
            facts = CheckedPicture(
                f"copy-{mark}", "skipped", Reason.DUPLICATE, bytes_count=facts.bytes_count
            )
        self.holder[facts.picture_id, title_id] = me
        return Picture(
            picture_id=facts.picture_id,
            title_id=title_id,
            kind=item.kind,
            source=self.source,
            source_path=item.source_path,
            source_stamp=stamp,
            status=facts.status,
            reason=None if facts.reason is None else str(facts.reason),
            file=facts.file,
            format=facts.format,
            width_px=facts.width_px,
            height_px=facts.height_px,
            bytes_count=facts.bytes_count,
            perceptual_hash=facts.perceptual_hash,
            year=item.year,
            published=item.published,
        )

    def old_keys(self, paths: Iterable[str]) -> list[tuple[str, str]]:
        """Keys of the rows that these files had before, unless another file took one over."""
        return [
            key
            for path in paths
            for key in self.keys.get(path, ())
            if self.holder.get(key, (self.source, path)) == (self.source, path)
        ]
