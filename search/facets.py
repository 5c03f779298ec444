"""What may be asked of a title without writing an expression: genre, platform, years."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Facets:
    """Any of these genres, any of these platforms, drawn in these years (both ends count)."""

    genres: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    year_from: int | None = None
    year_to: int | None = None

    def __bool__(self) -> bool:
        return self != Facets()

    def rows(self, meta: sqlite3.Connection) -> np.ndarray:
        """Row ids of the pictures that have what is asked of them.

        Shapes:  -> (N,) int64, ascending
        """
        conditions, values = ["1"], []
        if self.genres:
            conditions.append(
                "t.title_no in (select title_no from names where kind = 'genre'"
                " and name in (select value from json_each(?)))"
            )
            values.append(json.dumps(self.genres))
        if self.platforms:
            conditions.append("t.platform in (select value from json_each(?))")
            values.append(json.dumps(self.platforms))
        for sign, year in ((">=", self.year_from), ("<=", self.year_to)):
            if year is not None:
                conditions.append(f"coalesce(p.year, t.year) {sign} cast(? as integer)")
                values.append(str(year))
        rows = meta.execute(
            "select p.row_id from pictures p join titles t using (title_no)"
            f" where {' and '.join(conditions)} order by 1",
            values,
        )
        return np.fromiter((row[0] for row in rows), dtype=np.int64)
