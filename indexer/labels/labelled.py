"""Index rows as vectors with integer labels: what calibration and heads are fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from indexer.labels.holdout import Labelled
from indexer.vector_index.metadata import author_names, year_of
from indexer.vector_index.rows import IndexRows
from schemas.records import era_of


def labelled(rows: IndexRows, era_years: int) -> Labelled:
    """Index rows with integer labels for the calibration.

    Units:   era_years, the width of an era in years
    """
    titles = [rows.titles[row["title_id"]] for row in rows.pictures]
    first_author = [next(iter(author_names(title)), None) for title in titles]
    genre = [next(iter(title.get("genres") or []), None) for title in titles]
    years = [year_of(p, t) for p, t in zip(rows.pictures, titles, strict=True)]
    eras = [era_of(year, era_years) for year in years]
    codes, names = {}, {}
    for kind, labels in (("author", first_author), ("genre", genre), ("era", eras)):
        codes[kind], names[kind] = _codes(labels)
    return Labelled(
        rows.vectors,
        _codes([row["picture_id"] for row in rows.pictures])[0],
        _codes([row["title_id"] for row in rows.pictures])[0],
        **codes,
        names=names,
        era_years=era_years,
    )


def _codes(labels: Sequence[str | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    number: dict[str, int] = {}
    codes = [-1 if label is None else number.setdefault(label, len(number)) for label in labels]
    return np.asarray(codes, dtype=np.int64), tuple(number)
