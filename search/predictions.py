"""Label probabilities of listed pictures as a Parquet file: for anybody's own scoring.

One row for each listed picture, in the list's order:

    path            as listed
    authors         list of {label, probability}, most probable first; every known label
    genres, eras    lists of {label, probability}; each sums to 1, or is empty
    unknown_author  probability that none of the authors drew it; with them it sums to 1
    conclusion      one of schemas.records.CONCLUSIONS, or empty
    problem         null, or why the picture could not be used (all else is null then)

The file's metadata name `format`, `model_id`, `source` (a generation or a model) and
`unknown_prior`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexer.embedding.embed import Listed, open_encoder, parquet_file
from indexer.embedding.encoder import Encoder
from indexer.embedding.models import model_dir
from indexer.labels.heads import has_heads
from indexer.labels.predict import LabelModel, Prediction, predict
from schemas.attempt import WorkReport, attempt
from schemas.errors import NoIndexError
from schemas.images import PictureError, read_capped
from schemas.progress import Progress
from schemas.records import LABEL_KINDS
from schemas.settings import Settings
from search.batch import Looked, look_ahead, styles
from search.engine import Engine, StyleQuery, labels_of
from search.inputs import QueryPicture
from search.panels import AUTO, Cutting

FORMAT = "toonsearch.predictions/1"
COLUMNS = tuple(kind.column for kind in LABEL_KINDS.values())


@dataclass(frozen=True)
class Predictor:
    """What predicts the labels of one query, and where its knowledge comes from."""

    encoder: Encoder
    source: str
    predict: Callable[[StyleQuery], Prediction]


@dataclass
class PredictionReport(WorkReport):
    """Counts: predicted, failed, cut (strips and pages of which the panels asked); and how many
    pictures each conclusion holds for."""

    conclusions: dict[str, int] = field(default_factory=dict)


def predict_listed(
    settings: Settings,
    listed: Listed,
    out: Path,
    *,
    model: str | None = None,
    cutting: Cutting = AUTO,
    progress: Progress | None = None,
) -> tuple[str, PredictionReport]:
    """Write the predictions of listed pictures; returns what answered, and the counts.

    The published generation answers, with the labels of the user's own catalog; a model's own
    heads do where `model` names it. Strips and pages are cut as those of a query are.

    Errors:  InputError when the file cannot be written or there is no such model
             NoIndexError without an index, or when the model carries no heads
    """
    if model is not None:
        predictor = _of_model(settings, model)
        return _write(predictor, settings, listed, out, progress, cutting)
    with Engine.open(settings.layout, settings, bulk=True) as engine:
        prior = settings.query.unknown_prior
        predictor = Predictor(
            engine.encoder,
            f"generation {engine.generation.id}",
            lambda query: engine.predict(query, prior),
        )
        return _write(predictor, settings, listed, out, progress, cutting)


def _of_model(settings: Settings, name: str) -> Predictor:
    folder = model_dir(name, settings.layout)
    if not has_heads(folder):
        raise NoIndexError(
            f"model {folder.name} has no label heads",
            "Leave --model out to ask the index, or train one with `toonsearch train`.",
        )
    labels = LabelModel.read(folder)
    encoder = open_encoder(settings, bulk=True, folder=folder)
    alone = np.empty((1, 0), np.float32)  # there are no neighbours beside a model
    codes = dict.fromkeys(LABEL_KINDS, np.empty((1, 0), np.int64))
    prior = settings.query.unknown_prior
    return Predictor(
        encoder,
        f"model {folder.name}",
        lambda query: predict(
            labels, alone, codes, query.vector[None], np.array([query.ood]), prior
        ),
    )


def _write(
    predictor: Predictor,
    settings: Settings,
    listed: Listed,
    out: Path,
    progress: Progress | None,
    cutting: Cutting = AUTO,
) -> tuple[str, PredictionReport]:
    import pyarrow as pa

    label = pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float64())]))
    schema = pa.schema(
        [
            ("path", pa.string()),
            *((column, label) for column in COLUMNS),
            ("unknown_author", pa.float64()),
            ("conclusion", pa.string()),
            ("problem", pa.string()),
        ],
        {
            "format": FORMAT,
            "model_id": predictor.encoder.model_id,
            "source": predictor.source,
            "unknown_prior": str(settings.query.unknown_prior),
        },
    )
    counts = dict.fromkeys(("predicted", "failed", "cut"), 0)
    report = PredictionReport(counts, predictor.encoder.model_id)
    limits, encoder = settings.decode.limits, predictor.encoder

    def read(job: tuple[str, Path]) -> QueryPicture:
        return QueryPicture(job[1].name, read_capped(job[1], limits))

    done = 0
    with parquet_file(out, schema) as write:
        for batch in look_ahead(listed, read, limits, encoder.pixel_spec, cutting):
            seen = [one.seen for _, one in batch if isinstance(one, Looked)]
            known = iter(styles(encoder.encode, seen))
            rows = []
            for job, one in batch:
                style = one if isinstance(one, PictureError) else next(known)
                if isinstance(style, StyleQuery):
                    rows.append(_row(job, attempt(predictor.predict, style)))
                else:
                    rows.append(_row(job, style))
            write({name: [row[name] for row in rows] for name in schema.names})
            for row in rows:
                if row["problem"] is None:
                    said = row["conclusion"]
                    report.conclusions[said] = report.conclusions.get(said, 0) + 1
                    report.counts["predicted"] += 1
                else:
                    report.fail(row["path"], row["problem"])
            report.counts["cut"] += sum(one.is_cut for one in seen)
            done += len(batch)
            if progress:
                progress(done, len(listed))
    return predictor.source, report


def _row(job: tuple[str, Path], found: Prediction | PictureError) -> dict[str, Any]:
    name, path = job
    row: dict[str, Any] = dict.fromkeys(("unknown_author", "conclusion", "problem", *COLUMNS))
    row["path"] = name
    if isinstance(found, PictureError):  # whose row names the picture
        return {**row, "problem": found.message.removeprefix(f"{path.name}: ")}
    row["unknown_author"] = found.unknown_author[0]
    row["conclusion"] = labels_of(found).conclusion
    for kind, (column, *_) in LABEL_KINDS.items():
        labels = found.ranked(0, kind)
        row[column] = [{"label": label, "probability": share} for label, share in labels]
    return row
