"""Main colours of pictures, from the catalog's `colors` table where it exists.

DuckDB reads the table's own Parquet files; nothing of a request becomes part of a statement.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from schemas.errors import ToonsearchError
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

LOG = logging.getLogger("toonsearch.web")
SHOWN = 6
MAX_CACHED = 20_000
MAX_PALETTES = 16
PAPER = 240
"""Lighter in all channels is the ground that something is drawn on."""
CHECK_EVERY_S = 30.0
SQL = """
select picture_id, r, g, b, sum(share) as weight
from read_parquet($files) where picture_id in (select unnest($ids))
group by all order by picture_id, weight desc, r, g, b
"""
ColorShares = list[dict[str, Any]]
"""Colours as `#rrggbb`, each with its share, the largest first."""


class PictureColors:
    """Looks colours up by picture; the latest are cached."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._lock = threading.Lock()
        self._connection: Any = None
        self._files: Sequence[str] = ()
        self._checked_s = float("-inf")
        self._cached: OrderedDict[str, ColorShares] = OrderedDict()
        self._holders: OrderedDict[tuple[str, tuple[str, ...]], tuple[str, ...]] = OrderedDict()

    def of_pictures(self, picture_ids: Sequence[str]) -> dict[str, ColorShares]:
        """Each picture's main colours; blocks for a moment."""
        import duckdb

        with self._lock:
            try:
                self._read(picture_ids)
            except (ToonsearchError, duckdb.Error) as error:  # colours are a decoration
                LOG.warning("the colours cannot be read: %s", error)
            found = {one: self._cached[one] for one in picture_ids if self._cached.get(one)}
            while len(self._cached) > MAX_CACHED:
                self._cached.popitem(last=False)
            return found

    def of_all(self, picture_ids: Sequence[str]) -> ColorShares:
        """The main colours of pictures taken together."""
        weights: dict[str, float] = {}
        for colors in self.of_pictures(picture_ids).values():
            for one in colors:
                # Colours that the eye takes for one: three bits of each channel.
                near = bytes(c & 0xE0 | 0x10 for c in bytes.fromhex(one["colour"][1:]))
                weights[f"#{near.hex()}"] = weights.get(f"#{near.hex()}", 0.0) + one["share"]
        return _largest(list(weights.items()))

    def are_known(self) -> bool:
        """Whether the catalog has colours of any picture."""
        try:
            return bool(Catalog(self.layout).files("colors"))
        except ToonsearchError:
            return False

    def holders(self, palette: str) -> tuple[str, ...]:
        """The pictures that hold all colours of a palette, for a filter; blocks for a moment.

        Errors:  InputError when it cannot be read, or no picture's colours are known
        """
        from search import palettes

        colors = palettes.parse_palette(palette)
        key = (palette, tuple(Catalog(self.layout).files("colors")))
        with self._lock:
            if key in self._holders:
                self._holders.move_to_end(key)
                return self._holders[key]
        found = tuple(palettes.holders(self.layout, colors))
        with self._lock:
            self._holders[key] = found
            while len(self._holders) > MAX_PALETTES:
                self._holders.popitem(last=False)
        return found

    def _read(self, picture_ids: Sequence[str]) -> None:
        """Cache the colours of pictures; a changed table is read again."""
        import duckdb

        if time.monotonic() - self._checked_s > CHECK_EVERY_S:
            self._checked_s = time.monotonic()
            files = Catalog(self.layout).files("colors")
            if files != self._files:
                self._files = files
                self._cached.clear()
        missing = [one for one in dict.fromkeys(picture_ids) if one not in self._cached]
        if not missing or not self._files:
            return
        if self._connection is None:
            self._connection = duckdb.connect(config={"threads": 1, "memory_limit": "256MB"})
        values = {"files": list(self._files), "ids": missing}
        weights: dict[str, list[tuple[str, float]]] = {one: [] for one in missing}
        for picture_id, *rgb, weight in self._connection.execute(SQL, values).fetchall():
            weights[picture_id].append((f"#{bytes(rgb).hex()}", float(weight)))
        for picture_id, found in weights.items():
            self._cached[picture_id] = _largest(found)


def _largest(weights: list[tuple[str, float]]) -> ColorShares:
    """The largest, without the paper unless there is nothing else."""
    inked = [item for item in weights if min(bytes.fromhex(item[0][1:])) < PAPER]
    best = sorted(inked or weights, key=lambda item: (-item[1], item[0]))[:SHOWN]
    total = sum(weight for _, weight in best)
    return [{"colour": colour, "share": round(weight / total, 4)} for colour, weight in best]
