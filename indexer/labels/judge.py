"""Predicts the labels of the index's own pictures -> rows of the `predictions` table.

Each picture is predicted as if it were new: its own title and its own copies are hidden from the
neighbours, and heads that were fitted without its title (one fifth of the titles at a time) take
the place of the index's. That is what makes "genres that the model confuses" a fair question.
Incremental: a picture that has a prediction of the index's model is left alone unless everything
is asked for again, or its eras are of another width than the generation's.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.labels.calibration import LabelDataset
from indexer.labels.predict import LabelModel, Prediction, predict, products_on_one_thread
from indexer.vector_index.generations import Generation
from indexer.vector_index.metadata import CODES
from schemas.attempt import WorkReport, attempt
from schemas.images import PictureError
from schemas.progress import Progress
from schemas.records import LABEL_KINDS, is_era
from schemas.storage.catalog import Catalog
from schemas.storage.commits import reading
from schemas.storage.layout import Layout
from schemas.storage.tables import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 5
BATCH = 512
COMMIT_ROWS, COMMIT_SECONDS = 40 * BATCH, 60.0
PRIOR = 0.5  # how often a picture is by an unknown author before anything is known of it


def judge_pending(
    layout: Layout,
    *,
    again: bool = False,
    dry_run: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
) -> WorkReport:
    """Predict the labels of every indexed picture that has no prediction of the index's model with
    its eras.

    With `again` all are predicted again, as after many pictures were added. Counts:
    judged, already, failed, pending. The caller holds the data root's lock, but for a dry run.

    Errors:  NoIndexError without a usable index; InputError when a table cannot be used
    """
    import pyarrow as pa

    started = time.perf_counter()
    catalog = Catalog(layout)
    with Generation.open(layout) as generation, products_on_one_thread():
        judged = _Judge(generation)
        pending, already, has_row = judged.pending(catalog, again)
        pending = pending[:limit]
        report = WorkReport({"already": already}, generation.model_id)
        if dry_run:
            report.counts["pending"] = len(pending)
            return report
        report.counts["judged"] = 0
        schema, last, done = arrow_schema("predictions"), time.monotonic(), 0
        found: list[pa.Table] = []

        def commit() -> None:
            write = catalog.upsert if has_row[pending[done : done + size]].any() else catalog.append
            # Let go of first: what is interrupted here must not be written a second time.
            rows = pa.concat_tables([schema.empty_table(), *found])
            found.clear()
            write("predictions", rows)
            report.counts["judged"] += rows.num_rows

        size = 0  # pictures that were judged since the last commit, or failed
        try:
            for start in range(0, len(pending), BATCH):
                part = pending[start : start + BATCH]
                found.append(pa.Table.from_pylist(judged.rows(part, report), schema=schema))
                size += len(part)
                if size >= COMMIT_ROWS or time.monotonic() - last > COMMIT_SECONDS:
                    commit()
                    done, size, last = done + size, 0, time.monotonic()
                if progress:
                    progress(start + len(part), len(pending))
        finally:  # Ctrl-C keeps what was already predicted
            commit()
    report.seconds = time.perf_counter() - started
    return report


class _Judge:
    """The indexed pictures, in the order of the index, and heads that do not know them."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.model = generation.labels
        self.data, self.picture_ids = generation_dataset(generation)
        self.folds = self.data.folds()
        self._repeated = np.bincount(self.data.picture)[self.data.picture] > 1
        self._titles = np.argsort(self.data.title, kind="stable")
        self._models: dict[int, LabelModel] = {}

    def pending(self, catalog: Catalog, again: bool) -> tuple[np.ndarray, int, np.ndarray]:
        """Places of the pictures to predict, each picture once, titles together; how many need
        not be; and, for every place, whether the model has a row of its picture already, (N,)."""
        import pyarrow.compute as pc

        _, first = np.unique(self.data.picture, return_index=True)
        first = first[np.lexsort((first, self.data.title[first], self.folds[first]))]
        current, older = reading(
            catalog.layout.table("predictions"), lambda: self._written(catalog, again)
        )
        known, has_row = (
            pc.is_in(self.picture_ids, ids).to_numpy(zero_copy_only=False)
            for ids in (current, older)
        )
        fresh = first[~known[first]]
        return fresh, len(first) - len(fresh), has_row

    def _written(self, catalog: Catalog, again: bool) -> tuple[pa.Array, pa.Array]:
        """Ids of pictures whose prediction stays, and of those whose prediction is to be replaced:
        all of them `again`, or where the index has a kind of label that none of the model's
        predictions has, and those with eras of another width."""
        import pyarrow as pa
        import pyarrow.compute as pc

        years = self.model.calibration.era_years
        columns = [LABEL_KINDS[kind].column for kind in self.model.labels]
        lacking = set(columns)
        current, older = [pa.array([], pa.string())], [pa.array([], pa.string())]
        names = ["picture_id", "model_id", *dict.fromkeys([*columns, LABEL_KINDS["era"].column])]
        for batch in catalog.batches("predictions", names):
            own = batch.filter(pc.equal(batch["model_id"], self.generation.model_id))
            lacking -= {name for name in lacking if pc.sum(pc.list_value_length(own[name])).as_py()}
            other = pa.array(_of_other_eras(own[LABEL_KINDS["era"].column], years) | again)
            current.append(own["picture_id"].filter(pc.invert(other)))
            older.append(own["picture_id"].filter(other))
        if lacking:
            current, older = current[:1], older + current
        return pa.concat_arrays(current), pa.concat_arrays(older)

    def rows(self, part: np.ndarray, report: WorkReport) -> list[dict[str, Any]]:
        """Predictions of the pictures at these places, title by title; a title that fails is
        noted and costs no other."""
        titles = self.data.title[part]
        found = []
        for title in dict.fromkeys(titles.tolist()):
            places = part[titles == title]
            rows = attempt(self._title_rows, places)
            if isinstance(rows, PictureError):
                report.fail(self.picture_ids[places[0]], rows.message, len(places))
                continue
            found += rows
        return found

    def _title_rows(self, places: np.ndarray) -> list[dict[str, Any]]:
        """Predictions of pictures of one title."""
        predicted = self.predict(places)
        return [
            {
                "picture_id": self.picture_ids[place].as_py(),
                "model_id": self.generation.model_id,
                **{
                    column: [
                        {"label": label, "probability": share}
                        for label, share in predicted.ranked(query, kind, SHOWN)
                    ]
                    for kind, (column, *_) in LABEL_KINDS.items()
                },
                "unknown_author": float(predicted.unknown_author[query]),
            }
            for query, place in enumerate(places.tolist())
        ]

    def predict(self, places: np.ndarray) -> Prediction:
        """What is predicted of pictures of one title without that title and its copies; (B,)"""
        data, index = self.data, self.generation.index
        own = np.searchsorted(data.title, data.title[places[0]] + np.arange(2), sorter=self._titles)
        hidden = self._titles[slice(*own)]
        if self._repeated[places].any():
            copies = np.flatnonzero(np.isin(data.picture, data.picture[places]))
            hidden = np.union1d(hidden, copies)
        vectors = np.asarray(data.vectors[places], np.float32)
        similarity, ids = index.search(
            vectors, self.model.calibration.neighbours, without=index.row_ids[hidden]
        )
        at = np.searchsorted(index.row_ids, ids)
        codes = {kind: data.codes[kind][at] for kind in LABEL_KINDS}
        model = self._without(int(self.folds[places[0]]))
        return predict(model, similarity, codes, vectors, data.ood[places], PRIOR)

    def _without(self, fold: int) -> LabelModel:
        """The label model with heads that do not know a fold; the last one is remembered."""
        if fold not in self._models:
            heads = self.data.fitted_heads(np.flatnonzero(self.folds != fold))
            # The softmax of a network that was trained on these very labels would confirm them.
            self._models = {fold: replace(self.model, heads=heads, softmax=None)}
        return self._models[fold]


def generation_dataset(generation: Generation) -> tuple[LabelDataset, pa.Array]:
    """A generation's vectors, as they lie in its file, with their labels, in the order of the
    index, and the ids of its pictures; (N,)"""
    import pyarrow as pa

    index, labels = generation.index, generation.labels.labels
    count = len(index.row_ids)
    kinds = np.dtype(
        [("title", "i8"), ("ood", "f4"), *((name, "i8") for name in LABEL_KINDS)], align=True
    )
    found = generation.meta.execute(
        f"select title_no, ood, {', '.join(CODES)} from pictures order by row_id"
    )
    facts = np.fromiter(
        ((title, np.nan if ood is None else ood, *codes) for title, ood, *codes in found),
        kinds, count,
    )  # fmt: skip
    ids = generation.meta.execute("select picture_id from pictures order by row_id")
    picture_ids = pa.array((one for (one,) in ids), pa.string(), size=count)
    data = LabelDataset(
        index.halves,
        picture_ids.dictionary_encode().indices.to_numpy().astype(np.int64),
        facts["title"].copy(),
        {kind: facts[kind].copy() for kind in LABEL_KINDS},
        {kind: labels[kind].names if kind in labels else () for kind in LABEL_KINDS},
        facts["ood"].copy(),
        generation.calibration.era_years,
    )
    return data, picture_ids


def _of_other_eras(eras: pa.ListArray, years: int) -> np.ndarray:
    """Which predictions name an era of another width; (N,) bool"""
    import pyarrow as pa
    import pyarrow.compute as pc

    labels = pc.struct_field(pc.list_flatten(eras), "label")
    other = [label for label in labels.unique().to_pylist() if not is_era(label, years)]
    found = np.zeros(len(eras), bool)
    at = pc.is_in(labels, value_set=pa.array(other, labels.type))
    found[pc.list_parent_indices(eras).filter(at).to_numpy()] = True
    return found
