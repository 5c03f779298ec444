"""What the index says of its own pictures -> rows of the `predictions` table.

Each picture is judged as if it were new: its own title and its own copies are hidden, then
its nearest pictures vote (`indexer.labels.knn.vote`) with the generation's calibration. That
is what makes "genres that the model confuses" a fair question. Incremental: a picture that
the model has judged is left alone unless everything is asked for again, or its eras are of
another width than the generation's.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.labels.labels import KINDS
from indexer.vector_index.generations import Generation
from schemas.progress import Progress
from schemas.records import era_of, is_era
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {"author": "authors", "genre": "genres", "era": "eras"}
SHOWN = 5
BATCH = 512
MAX_HIDDEN = 5_000  # pictures of the own title that a search looks past
PRIOR = 0.5  # how often a picture is by an unknown hand, before looking


@dataclass
class VerdictReport:
    """What a run did. Counts: judged, already (and pending, for a dry run)."""

    model_id: str
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Rows:
    """The indexed pictures, in the order of the FAISS index.

    Shapes:  all (N,); `labels` holds an array of names for each kind
    """

    picture_ids: np.ndarray
    titles: np.ndarray
    labels: Mapping[str, np.ndarray]


def judge_pending(
    layout: Layout,
    *,
    again: bool = False,
    dry_run: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
) -> VerdictReport:
    """Judge every indexed picture that has no prediction of the index's model with its eras.

    With `again` all are judged anew, as after many pictures were added. The caller holds
    the data root's lock, but for a dry run.

    Errors:  NoIndexError without a usable index; InputError when a table cannot be used
    """
    started = time.perf_counter()
    catalog = Catalog(layout)
    with Generation.open(layout) as generation:
        rows = _rows(generation)
        pending, already, any_written = _pending(catalog, rows, generation, again)
        pending = pending[:limit]
        report = VerdictReport(generation.model_id, {"already": already})
        if dry_run:
            report.counts["pending"] = len(pending)
            return report
        report.counts["judged"] = 0
        sizes = {kind: Counter(n for n in names if n) for kind, names in rows.labels.items()}
        for start in range(0, len(pending), BATCH):
            part = pending[start : start + BATCH]
            told = list(_verdicts(generation, rows, part, sizes))
            data = _table(rows.picture_ids[part].tolist(), generation.model_id, told)
            if any_written:
                catalog.upsert("predictions", data)
            else:
                catalog.append("predictions", data)
            report.counts["judged"] += len(part)
            if progress:
                progress(start + len(part), len(pending))
    report.seconds = time.perf_counter() - started
    return report


def _rows(generation: Generation) -> _Rows:
    import faiss

    order = faiss.vector_to_array(generation.index.id_map)
    place = {int(row_id): n for n, row_id in enumerate(order)}
    found: list[Any] = [None] * len(order)
    for row in generation.meta.execute(
        "select p.row_id, p.picture_id, p.title_no, t.author, t.genre, p.year"
        " from pictures p join titles t using (title_no)"
    ):
        found[place[row[0]]] = row[1:]
    ids, titles, authors, genres, years = zip(*found, strict=True) if found else ((),) * 5
    width = generation.calibration.era_years
    eras = [era_of(year, width) for year in years]
    labels = {"author": authors, "genre": genres, "era": eras}
    return _Rows(
        np.asarray(ids, dtype=np.str_),
        np.asarray(titles, dtype=np.int64),
        {kind: np.asarray(names, dtype=object) for kind, names in labels.items()},
    )


def _pending(
    catalog: Catalog, rows: _Rows, generation: Generation, again: bool
) -> tuple[np.ndarray, int, bool]:
    """Places of the pictures to judge, each picture once; how many need not be; and whether
    the model has judged any before, so that its rows are to be replaced."""
    _, first = np.unique(rows.picture_ids, return_index=True)
    if again:
        return first, 0, True
    have = catalog.read("predictions", ["picture_id", "model_id", *COLUMNS.values()])
    ids, models = (have[name].to_pylist() for name in ("picture_id", "model_id"))
    own = [place for place, model in enumerate(models) if model == generation.model_id]
    if own and _untold(have.take(own), rows):
        return first, 0, True
    other = _of_other_eras(have["eras"], generation.calibration.era_years)
    known = {ids[place] for place in own if place not in other}
    fresh = np.asarray([place for place in first if rows.picture_ids[place] not in known], int)
    return fresh, len(first) - len(fresh), bool(own)


def _untold(own: pa.Table, rows: _Rows) -> bool:
    """Whether the index has a kind of label that none of the model's judgements tells."""
    import pyarrow.compute as pc

    return any(
        any(name is not None for name in rows.labels[kind].tolist())
        and not pc.sum(pc.list_value_length(own[column])).as_py()
        for kind, column in COLUMNS.items()
    )


def _of_other_eras(eras: pa.ChunkedArray, years: int) -> set[int]:
    """Places of predictions that name an era of another width; as columns, because a million
    lists of labels are slow and large as Python objects."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = eras.combine_chunks()
    labels = pc.struct_field(pc.list_flatten(lists), "label")
    foreign = [label for label in labels.unique().to_pylist() if not is_era(label, years)]
    if not foreign:
        return set()
    at = pc.is_in(labels, value_set=pa.array(foreign, labels.type))
    return set(pc.list_parent_indices(lists).filter(at).to_pylist())


def _verdicts(
    generation: Generation, rows: _Rows, part: np.ndarray, sizes: Mapping[str, Mapping[str, int]]
) -> Iterator[dict[str, Any]]:
    """Votes on the pictures at these places; (B,) -> B rows."""
    calibration = generation.calibration
    index = generation.index
    vectors = np.stack([index.index.reconstruct(int(place)) for place in part])  # (B, D)
    own = np.isin(rows.titles, np.unique(rows.titles[part]))
    hidden = int(np.bincount(rows.titles[own]).max())
    k = min(index.ntotal, calibration.neighbours + min(hidden, MAX_HIDDEN) + 8)
    # the inner index answers with places instead of row ids
    similarity, places = index.index.search(vectors, k)  # (B, K)
    for row, place in enumerate(part):
        there = places[row] >= 0
        near = places[row][there]
        other = (rows.titles[near] != rows.titles[place]) & (
            rows.picture_ids[near] != rows.picture_ids[place]
        )
        near = near[other][: calibration.neighbours]
        scores = similarity[row][there][other][: calibration.neighbours]
        told: dict[str, Any] = {}
        for kind in KINDS:
            names = [[] if name is None else [name] for name in rows.labels[kind][near]]
            told[kind] = calibration.vote(kind, scores, names, sizes[kind]) if len(near) else {}
        best = next(iter(told["author"].values()), 0.0)
        unknown = calibration.unknown_author(scores, best, PRIOR) if told["author"] else 0.0
        shares = {name: share * (1.0 - unknown) for name, share in told["author"].items()}
        yield {**told, "author": shares, "unknown_author": unknown}


def _table(ids: list[str], model_id: str, told: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    from schemas.storage.tables import arrow_schema

    def top(shares: Mapping[str, float]) -> list[dict[str, Any]]:
        return [
            {"label": label, "probability": share} for label, share in list(shares.items())[:SHOWN]
        ]

    rows = [
        {
            "picture_id": picture_id,
            "model_id": model_id,
            **{column: top(one[kind]) for kind, column in COLUMNS.items()},
            "unknown_author": one["unknown_author"],
        }
        for picture_id, one in zip(ids, told, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema("predictions"))
