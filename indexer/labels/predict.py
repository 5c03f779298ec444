"""The one way from a vector and its neighbours to label probabilities.

Queries, `predict`, `judge` and the evaluation all call `predict`; a label model lies in the
folder `labels/` of a generation or of a trained model, which then answers without neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from indexer.labels.calibration import (
    CALIBRATION_FILE,
    NEIGHBOURS,
    Calibration,
    LabelDataset,
    fit,
)
from indexer.labels.heads import (
    KINDS,
    LABELS_FOLDER,
    Head,
    LabelSet,
    read_heads,
    write_heads,
)
from indexer.labels.knn import log_votes, pool, vote_shares
from indexer.labels.open_set import out_of_distribution, unknown_features, unknown_probability
from schemas.records import era_of
from schemas.storage.fsio import fsync_directory, write_file


@dataclass(frozen=True)
class LabelModel:
    """The labels of a catalog, its heads and its calibration."""

    labels: Mapping[str, LabelSet]
    heads: Mapping[str, Head]
    calibration: Calibration

    @classmethod
    def fit(
        cls,
        data: LabelDataset,
        *,
        sample: int,
        seed: int,
        neighbours: int = NEIGHBOURS,
        calibration: Calibration | None = None,
    ) -> LabelModel:
        """Fit heads and calibration; `calibration` is one that is carried over instead."""
        if calibration is None:
            calibration = fit(data, sample=sample, seed=seed, neighbours=neighbours)
        return cls(data.label_sets(), data.fitted_heads(), calibration)

    @classmethod
    def read(cls, folder: Path) -> LabelModel:
        """That of a generation's or a model's folder.

        Errors:  NoIndexError when it is missing or damaged
        """
        labels, heads = read_heads(folder)
        return cls(labels, heads, Calibration.read(folder))

    def write(self, folder: Path) -> None:
        """Write it into a new generation's or model's folder. Errors:  OSError"""
        inside = folder / LABELS_FOLDER
        inside.mkdir(exist_ok=True)
        write_file(inside / CALIBRATION_FILE, self.calibration.to_json().encode())
        write_heads(folder, self.labels, self.heads)
        fsync_directory(inside)

    @cached_property
    def _code(self) -> dict[str, dict[str, int]]:
        return {
            kind: {name: code for code, name in enumerate(one.names)}
            for kind, one in self.labels.items()
        }

    def codes(
        self, author: Sequence[str | None], genre: Sequence[str | None], year: Sequence[int | None]
    ) -> dict[str, np.ndarray]:
        """Facts of pictures as integer labels, -1 where a picture has none; each (K,)"""
        era = [era_of(one, self.calibration.era_years) for one in year]
        found = {}
        for kind, names in zip(KINDS, (author, genre, era), strict=True):
            code = self._code.get(kind, {})
            found[kind] = np.asarray([code.get(name or "", -1) for name in names], np.int64)
        return found


@dataclass(frozen=True)
class Prediction:
    """Every label of the catalog with its probability, for each of Q queries.

    `probabilities` sum to 1 by kind; `unknown_author` is apart from the authors' sum.
    `out_of_distribution` is the share of all of them that is no more than the class prior.

    Shapes:  probabilities kind -> (Q, C), the others (Q,)
    """

    labels: Mapping[str, LabelSet]
    probabilities: Mapping[str, np.ndarray]
    unknown_author: np.ndarray
    out_of_distribution: np.ndarray

    def ranked(self, query: int, kind: str, count: int | None = None) -> list[tuple[str, float]]:
        """Labels of one query, most probable first; empty where the catalog has none. The
        authors' probabilities add up to 1 with the unknown author's."""
        if kind not in self.probabilities:
            return []
        shares, names = self.probabilities[kind][query], self.labels[kind].names
        mass = 1.0 - float(self.unknown_author[query]) if kind == "author" else 1.0
        order = np.argsort(-shares, kind="stable")[:count]
        return [(names[code], mass * float(shares[code])) for code in order.tolist()]


def predict(
    model: LabelModel,
    similarity: np.ndarray,
    codes: Mapping[str, np.ndarray],
    vectors: np.ndarray,
    ood: np.ndarray,
    unknown_prior: float,
) -> Prediction:
    """Label probabilities: the neighbours' vote and the heads in a log-linear pool, and the class
    prior in so far as a query is out of distribution.

    Shapes:  similarity (Q, K), nearest first; codes kind -> (Q, K); vectors (Q, D); ood (Q,)
    """
    calibration = model.calibration
    strange = out_of_distribution(ood, similarity, calibration.usual_ood, calibration.usual_nearest)
    probabilities, unknown = {}, np.zeros(len(vectors))
    for kind, labels in model.labels.items():
        shares = vote_shares(similarity, codes[kind], len(labels.names), calibration.temperature)
        head, scores = model.heads.get(kind), None
        if head is not None:
            scores = head.scores(vectors)
        pooled = pool(
            log_votes(shares), scores, calibration.vote_weight[kind], calibration.head_weight[kind]
        )
        if kind == "author":
            ratio = None
            if head is not None and scores is not None:
                ratio = scores.max(axis=1) - head.unseen(vectors)
            best = shares.max(axis=1), ratio, pooled.max(axis=1)
            features = unknown_features(similarity, *best)
            unknown = unknown_probability(features, calibration.unknown_weights, unknown_prior)
            unknown = 1.0 - (1.0 - unknown) * (1.0 - strange)
        prior = np.asarray(labels.counts, np.float64)
        prior = prior / max(prior.sum(), 1.0)
        probabilities[kind] = pooled + strange[:, None] * (prior - pooled)
    return Prediction(model.labels, probabilities, unknown, strange)
