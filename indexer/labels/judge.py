"""Predicts the labels of the index's own pictures -> rows of the `predictions` table.

Each picture is predicted as if it were new: its own title and its own copies are hidden from the
neighbours, and heads that were fitted without its title (one fifth of the titles at a time) take
the place of the index's. That is what makes "genres that the model confuses" a fair question.
Incremental: a picture that has a prediction of the index's model is left alone unless everything
is asked for again, or its eras are of another width than the generation's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.labels.calibration import LabelDataset
from indexer.labels.predict import LabelModel, Prediction, predict
from indexer.vector_index.generations import Generation
from indexer.vector_index.metadata import CODES
from schemas.attempt import attempt
from schemas.images import PictureError
from schemas.progress import Progress
from schemas.records import LABEL_KINDS, is_era
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from schemas.storage.tables import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 5
BATCH = 512
MAX_PROBLEMS = 10
PRIOR = 0.5  # how often a picture is by an unknown author before anything is known of it


@dataclass
class JudgeReport:
    """What a run did. Counts: judged, already, failed (and pending, for a dry run); `problems`
    are the first few titles whose pictures failed, in words."""

    model_id: str
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def judge_pending(
    layout: Layout,
    *,
    again: bool = False,
    dry_run: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
) -> JudgeReport:
    """Predict the labels of every indexed picture that has no prediction of the index's model with
    its eras.

    With `again` all are predicted again, as after many pictures were added. The caller holds
    the data root's lock, but for a dry run.

    Errors:  NoIndexError without a usable index; InputError when a table cannot be used
    """
    import pyarrow as pa

    started = time.perf_counter()
    catalog = Catalog(layout)
    with Generation.open(layout) as generation:
        judged = _Judge(generation)
        pending, already, any_written = judged.pending(catalog, again)
        pending = pending[:limit]
        report = JudgeReport(generation.model_id, {"already": already})
        if dry_run:
            report.counts["pending"] = len(pending)
            return report
        report.counts["judged"] = 0
        for start in range(0, len(pending), BATCH):
            part = pending[start : start + BATCH]
            rows = judged.rows(part, report)
            data = pa.Table.from_pylist(rows, schema=arrow_schema("predictions"))
            if any_written:
                catalog.upsert("predictions", data)
            else:
                catalog.append("predictions", data)
            report.counts["judged"] += len(rows)
            if progress:
                progress(start + len(part), len(pending))
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
        self._models: dict[int, LabelModel] = {}

    def pending(self, catalog: Catalog, again: bool) -> tuple[np.ndarray, int, bool]:
        """Places of the pictures to predict, each picture once, titles together; how many need
        not be; and whether the model has predicted any before, so that its rows are replaced."""
        _, first = np.unique(self.picture_ids, return_index=True)
        first = first[np.lexsort((first, self.data.title[first], self.folds[first]))]
        if again:
            return first, 0, True
        have = catalog.read(
            "predictions",
            ["picture_id", "model_id", *(kind.column for kind in LABEL_KINDS.values())],
        )
        ids, models = (have[name].to_pylist() for name in ("picture_id", "model_id"))
        own = [at for at, model in enumerate(models) if model == self.generation.model_id]
        if own and self._lacks_a_kind(have.take(own)):
            return first, 0, True
        other = _of_other_eras(have["eras"], self.model.calibration.era_years)
        known = np.asarray([ids[at] for at in own if at not in other], np.str_)
        fresh = first[~np.isin(self.picture_ids[first], known)]
        return fresh, len(first) - len(fresh), bool(own)

    def _lacks_a_kind(self, own: pa.Table) -> bool:
        """Whether the index has a kind of label that none of the model's predictions has."""
        import pyarrow.compute as pc

        return any(
            not pc.sum(pc.list_value_length(own[LABEL_KINDS[kind].column])).as_py()
            for kind in self.model.labels
        )

    def rows(self, part: np.ndarray, report: JudgeReport) -> list[dict[str, Any]]:
        """Predictions of the pictures at these places, title by title; a title that fails is
        noted and costs no other."""
        titles = self.data.title[part]
        found = []
        for title in dict.fromkeys(titles.tolist()):
            places = part[titles == title]
            rows = attempt(self._title_rows, places)
            if isinstance(rows, PictureError):
                report.counts["failed"] = report.counts.get("failed", 0) + len(places)
                if len(report.problems) < MAX_PROBLEMS:
                    report.problems.append(f"{self.picture_ids[places[0]]}: {rows.message}")
                continue
            found += rows
        return found

    def _title_rows(self, places: np.ndarray) -> list[dict[str, Any]]:
        """Predictions of pictures of one title."""
        predicted = self.predict(places)
        return [
            {
                "picture_id": str(self.picture_ids[place]),
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
        hidden = data.title == data.title[places[0]]
        if self._repeated[places].any():
            hidden |= np.isin(data.picture, data.picture[places])
        vectors = data.vectors[places]
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


def generation_dataset(generation: Generation) -> tuple[LabelDataset, np.ndarray]:
    """A generation's vectors with their labels, in the order of the index, and picture ids (N,)."""
    index, labels = generation.index, generation.labels.labels
    rows = generation.meta.execute(
        f"select row_id, picture_id, title_no, ood, {', '.join(CODES)} from pictures"
        " order by row_id"
    ).fetchall()
    _, ids, titles, ood, *codes = zip(*rows, strict=True)
    picture_ids = np.asarray(ids, np.str_)
    data = LabelDataset(
        index.all_vectors(),
        np.unique(picture_ids, return_inverse=True)[1].reshape(-1),
        np.asarray(titles, np.int64),
        {kind: np.asarray(of, np.int64) for kind, of in zip(LABEL_KINDS, codes, strict=True)},
        {kind: labels[kind].names if kind in labels else () for kind in LABEL_KINDS},
        np.asarray([np.nan if one is None else one for one in ood], np.float32),
        generation.calibration.era_years,
    )
    return data, picture_ids


def _of_other_eras(eras: pa.ChunkedArray, years: int) -> set[int]:
    """Places of predictions that name an era of another width; as columns, because a million
    lists of labels are slow and large as Python objects."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = eras.combine_chunks()
    labels = pc.struct_field(pc.list_flatten(lists), "label")
    other = [label for label in labels.unique().to_pylist() if not is_era(label, years)]
    if not other:
        return set()
    at = pc.is_in(labels, value_set=pa.array(other, labels.type))
    return set(pc.list_parent_indices(lists).filter(at).to_pylist())
