"""Label probabilities of listed pictures as a Parquet file: for anybody's own scoring.

One row for each listed picture, in the list's order:

    path            as listed
    authors         list of {label, probability}, most probable first; every known label
    unknown_author  probability that none of them drew it; with the authors it sums to 1
    genres, eras    lists of {label, probability}; each sums to 1, or is empty
    problem         null, or why the picture could not be used (all else is null then)

The file's metadata name `format`, `model_id`, `source` (a generation or a model) and
`unknown_prior`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer.embedding.embed import (
    Listed,
    ListedVector,
    ListingReport,
    listed_vectors,
    open_encoder,
    parquet_file,
)
from indexer.embedding.encoder import Encoder
from indexer.embedding.models import model_dir
from indexer.labels.deviation import outside
from indexer.labels.head_files import HeadCalibration, Heads, has_heads, read_heads
from indexer.labels.knn import fuse, humbled, sharpened
from indexer.labels.labels import KINDS
from indexer.labels.open_set import FOREIGN_ODDS, foreign_share
from schemas.errors import NoIndexError
from schemas.progress import Progress
from schemas.settings import Settings
from search.engine import Engine
from search.probabilities import Distributions, ranked

FORMAT = "toonsearch.predictions/1"
COLUMNS = {"author": "authors", "genre": "genres", "era": "eras"}


@dataclass(frozen=True)
class Predictor:
    """What tells labels from a vector, and where its knowledge comes from."""

    encoder: Encoder
    source: str
    predict: Callable[[np.ndarray, float | None], Distributions]
    """From a vector (D,) and how unlike what the model knows the picture is."""


@dataclass
class PredictionReport(ListingReport):
    """What was written; `unknown` of the pictures are rather by none of the known authors than by
    one of them, `foreign` rather of another kind than the pictures of the index or model."""

    unknown: int = 0
    foreign: int = 0


def predict_listed(
    settings: Settings,
    listed: Listed,
    out: Path,
    *,
    model: str | None = None,
    progress: Progress | None = None,
) -> tuple[str, PredictionReport]:
    """Write the predictions of listed pictures; returns what answered, and the counts.

    The published generation answers, with the labels of the user's own catalog; a model's own
    heads do where `model` names it.

    Errors:  InputError when the file cannot be written or there is no such model
             NoIndexError without an index, or when the model carries no heads
    """
    if model is not None:
        predictor = _of_model(settings, model)
        return _write(predictor, settings, listed, out, progress)
    with Engine.open(settings.layout, settings, bulk=True) as engine:
        prior = settings.query.unknown_prior
        predictor = Predictor(
            engine.encoder,
            f"generation {engine.generation.id}",
            lambda vector, deviation: engine.distributions_of(vector, prior, deviation),
        )
        return _write(predictor, settings, listed, out, progress)


def _of_model(settings: Settings, name: str) -> Predictor:
    folder = model_dir(name, settings.layout)
    if not has_heads(folder):
        raise NoIndexError(
            f"model {folder.name} has no label heads",
            "Leave --model out to ask the index, or train one with `toonsearch train`.",
        )
    heads = read_heads(folder)
    encoder = open_encoder(settings, bulk=True, folder=folder)
    prior = settings.query.unknown_prior
    return Predictor(
        encoder,
        f"model {folder.name}",
        lambda vector, deviation: head_distributions(heads, vector, prior, deviation),
    )


def head_distributions(
    heads: Heads, vector: np.ndarray, prior: float, deviation: float | None = None
) -> Distributions:
    """What a model's own heads say, without any neighbour. Of a picture of another kind than
    those they know, genres and eras are all alike to them.

    Shapes:  vector (D,)
    """
    calibration = heads.calibration or HeadCalibration(dict.fromkeys(KINDS, 1.0))
    by_kind: dict[str, Mapping[str, float]] = {kind: {} for kind in KINDS}
    unknown, depth = 0.0, outside(calibration.usual_deviation, deviation)
    foreign = foreign_share(np.asarray([depth]))
    for kind, head in heads.heads.items():
        scores = head.scores(vector[None])
        even = np.full(scores.shape, 1.0 / scores.shape[1])
        found = fuse(
            even, scores, tail=0.0, head_weight=calibration.power.get(kind, 1.0), vote_weight=0.0
        )[0]
        told = sharpened(found[None], calibration.sharpness.get(kind, 1.0))[0]
        if kind != "author":
            told = humbled(told[None], np.ones(len(told)), foreign)[0]
        by_kind[kind] = ranked(head.labels, told)
        if kind == "author":
            greatest, stranger = float(scores.max()), float(head.stranger(vector[None])[0])
            features = np.array([1.0, greatest - stranger, greatest, float(found.max())])
            odds = float(features @ np.asarray(calibration.unknown)) + FOREIGN_ODDS * depth
            limited = min(max(prior, 1e-6), 1.0 - 1e-6)
            odds += float(np.log(limited / (1.0 - limited)))
            unknown = float(1.0 / (1.0 + np.exp(-np.clip(odds, -50.0, 50.0))))
    return Distributions(by_kind, unknown, float(foreign[0]))


def _write(
    predictor: Predictor, settings: Settings, listed: Listed, out: Path, progress: Progress | None
) -> tuple[str, PredictionReport]:
    import pyarrow as pa

    label = pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float64())]))
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("authors", label),
            ("unknown_author", pa.float64()),
            ("genres", label),
            ("eras", label),
            ("problem", pa.string()),
        ],
        {
            "format": FORMAT,
            "model_id": predictor.encoder.model_id,
            "source": predictor.source,
            "unknown_prior": str(settings.query.unknown_prior),
        },
    )
    report = PredictionReport(predictor.encoder.model_id, 0, 0, [])
    with parquet_file(out, schema) as write:
        limits = settings.decode.limits
        for batch in listed_vectors(predictor.encoder, limits, listed, progress):
            told = [
                None if row.vector is None else predictor.predict(row.vector, row.ood)
                for row in batch
            ]
            write(_columns(batch, told))
            report.count(batch)
            report.unknown += sum(found.unknown_author > 0.5 for found in told if found)
            report.foreign += sum(found.foreign > 0.5 for found in told if found)
    return predictor.source, report


def _columns(
    batch: Sequence[ListedVector], told: Sequence[Distributions | None]
) -> dict[str, object]:
    columns: dict[str, list[Any]] = {
        name: [] for name in ("path", "authors", "unknown_author", "genres", "eras", "problem")
    }
    for row, found in zip(batch, told, strict=True):
        columns["path"].append(row.name)
        columns["problem"].append(row.problem)
        columns["unknown_author"].append(None if found is None else found.unknown_author)
        for kind, name in COLUMNS.items():
            columns[name].append(None if found is None else _labels(found, kind))
    return dict(columns)


def _labels(found: Distributions, kind: str) -> list[dict[str, Any]]:
    """Every label; the authors share what is not unknown."""
    shares = found.by_kind[kind]
    total = sum(shares.values())  # below 1 where only neighbours answered
    mass = 1.0 - found.unknown_author if kind == "author" else 1.0
    return [
        {"label": label, "probability": share / total * mass} for label, share in shares.items()
    ]
