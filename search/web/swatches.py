"""Dominant colours of pictures, from the catalog's `colors` table where it exists.

DuckDB reads the table's own Parquet files; nothing of a request becomes part of a statement.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypedDict

from schemas.errors import ToonsearchError
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

LOG = logging.getLogger("toonsearch.web")
SHOWN = 6
KEPT = 20_000
PAPER = 240
"""Lighter in all channels is the ground that something is drawn on."""
LOOK_EVERY_S = 30.0
SQL = """
select picture_id, r, g, b, sum(share) as weight
from read_parquet($files) where picture_id in (select unnest($ids))
group by all order by picture_id, weight desc, r, g, b
"""


class Colour(TypedDict):
    """A colour as `#rrggbb`, and its share of what was looked at."""

    colour: str
    share: float


class Swatches:
    """Looks colours up by picture; the latest are remembered."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._lock = threading.Lock()
        self._connection: Any = None
        self._files: tuple[str, ...] = ()
        self._looked = float("-inf")
        self._kept: OrderedDict[str, list[Colour]] = OrderedDict()

    def of_pictures(self, picture_ids: Sequence[str]) -> dict[str, list[Colour]]:
        """Each picture's main colours, the largest first; blocks for a moment."""
        with self._lock:
            self._look()
            missing = [one for one in dict.fromkeys(picture_ids) if one not in self._kept]
            if missing and self._files:
                self._read(missing)
            found = {one: self._kept[one] for one in picture_ids if self._kept.get(one)}
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return found

    def of_all(self, picture_ids: Sequence[str]) -> list[Colour]:
        """The main colours of pictures taken together."""
        weights: dict[str, float] = {}
        for colours in self.of_pictures(picture_ids).values():
            for one in colours:
                # Colours that the eye takes for one: five bits of each channel.
                red, green, blue = (int(one["colour"][at : at + 2], 16) for at in (1, 3, 5))
                near = "#" + "".join(f"{c & 0xE0 | 0x10:02x}" for c in (red, green, blue))
                weights[near] = weights.get(near, 0.0) + one["share"]
        return _largest(list(weights.items()))

    def _look(self) -> None:
        """Find the table's files; when they have changed, forget what was known."""
        if time.monotonic() - self._looked < LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        try:
            files = tuple(Catalog(self.layout).files("colors"))
        except ToonsearchError as error:  # colours are a decoration
            LOG.warning("the colours cannot be read: %s", error)
            return
        if files != self._files:
            self._files = files
            self._kept.clear()

    def _read(self, picture_ids: list[str]) -> None:
        import duckdb

        try:
            if self._connection is None:
                self._connection = duckdb.connect(config={"threads": 1, "memory_limit": "256MB"})
            values = {"files": list(self._files), "ids": picture_ids}
            rows = self._connection.execute(SQL, values).fetchall()
        except (duckdb.Error, ToonsearchError) as error:
            LOG.warning("the colours cannot be read: %s", error)
            return
        weights: dict[str, list[tuple[str, float]]] = {one: [] for one in picture_ids}
        for picture_id, red, green, blue, weight in rows:
            weights[picture_id].append((f"#{red:02x}{green:02x}{blue:02x}", float(weight)))
        for picture_id, found in weights.items():
            self._kept[picture_id] = _largest(found)


def _largest(weights: list[tuple[str, float]]) -> list[Colour]:
    """The largest, without the paper unless there is nothing else."""
    inked = [item for item in weights if min(bytes.fromhex(item[0][1:])) < PAPER]
    best = sorted(inked or weights, key=lambda item: (-item[1], item[0]))[:SHOWN]
    total = sum(weight for _, weight in best)
    return [{"colour": colour, "share": round(weight / total, 4)} for colour, weight in best]
