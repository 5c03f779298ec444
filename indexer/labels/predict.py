"""The one way from a vector and its neighbours to label probabilities.

Queries, `predict`, `judge` and the evaluation all call `predict`; a label model lies in the
folder `labels/` of a generation or of a trained model, which then answers without neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
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
    LABELS_FOLDER,
    Head,
    LabelSet,
    read_heads,
    write_heads,
)
from indexer.labels.knn import PARTS, log_votes, pool, vote_shares
from indexer.labels.open_set import (
    NOTHING_KNOWN,
    UNFITTED,
    familiarity,
    out_of_distribution,
    unknown_probability,
)
from indexer.labels.softmax import Softmax
from schemas.records import LABEL_KINDS, LabelProbability, Labels
from schemas.storage.fsio import fsync_directory, write_file

MODEL_FOLDER = "model"


def products_on_one_thread() -> AbstractContextManager[object]:
    """From now on, or for the length of a `with`, matrix products take one thread. Those of a few
    pictures are small, and threads spin while they wait for one another: where something else
    wants the cores as well, they took seven times as long."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


@dataclass(frozen=True)
class LabelModel:
    """The labels of a catalog, its heads and its calibration; and the softmax heads of the network
    that its vectors come from, where it was trained on the catalog's own labels."""

    labels: Mapping[str, LabelSet]
    heads: Mapping[str, Head]
    calibration: Calibration
    softmax: Softmax | None = None

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
        inside = folder / MODEL_FOLDER  # of a generation
        softmax = Softmax.read(inside if inside.is_dir() else folder)
        return cls(labels, heads, Calibration.read(folder), softmax)

    def write(self, folder: Path) -> None:
        """Write it into a new generation's or model's folder; the softmax is part of the model's
        own files. Errors:  OSError"""
        inside = folder / LABELS_FOLDER
        inside.mkdir(exist_ok=True)
        write_file(inside / CALIBRATION_FILE, self.calibration.to_json().encode())
        write_heads(folder, self.labels, self.heads)
        fsync_directory(inside)


@dataclass(frozen=True)
class Prediction:
    """Every label of the catalog with its probability, for each of Q queries.

    `probabilities` sum to 1 by kind; `unknown_author` is apart from the authors' sum.
    `out_of_distribution` is the share of all of them that is no more than the class prior;
    `by_softmax` are the kinds in which the network's own softmax was heard.

    Shapes:  probabilities kind -> (Q, C), the others (Q,)
    """

    labels: Mapping[str, LabelSet]
    probabilities: Mapping[str, np.ndarray]
    unknown_author: np.ndarray
    out_of_distribution: np.ndarray
    by_softmax: tuple[str, ...] = ()

    def ranked(self, query: int, kind: str, count: int | None = None) -> list[tuple[str, float]]:
        """Labels of one query, most probable first; empty where the catalog has none. The
        authors' probabilities add up to 1 with the unknown author's."""
        if kind not in self.probabilities:
            return []
        shares, names = self.probabilities[kind][query], self.labels[kind].names
        mass = 1.0 - float(self.unknown_author[query]) if kind == "author" else 1.0
        some = np.arange(len(shares))
        if count is not None and count < len(shares):
            # Of ten thousands of labels, only those that can be among the first are sorted.
            some = np.flatnonzero(shares >= np.partition(shares, -count)[-count])
        order = some[np.argsort(-shares[some], kind="stable")[:count]]
        return [(names[code], mass * float(shares[code])) for code in order.tolist()]

    def of_query(self, query: int, count: int) -> Labels:
        """The most probable labels of one query, as an answer shows them."""
        shown = {
            column: tuple(LabelProbability(*one) for one in self.ranked(query, kind, count))
            for kind, (column, *_) in LABEL_KINDS.items()
        }
        return Labels(
            unknown_author=float(self.unknown_author[query]),
            out_of_distribution=float(self.out_of_distribution[query]),
            by_softmax=self.by_softmax,
            **shown,
        )


def predict(
    model: LabelModel,
    similarity: np.ndarray,
    codes: Mapping[str, np.ndarray],
    vectors: np.ndarray,
    ood: np.ndarray,
    unknown_prior: float,
) -> Prediction:
    """Label probabilities: the neighbours' vote, the heads and, where the model has one, its
    network's own softmax in a log-linear pool; the class prior in so far as a query is out of
    distribution.

    Shapes:  similarity (Q, K), nearest first; codes kind -> (Q, K); vectors (Q, D); ood (Q,)
    """
    calibration = model.calibration
    heard = {
        kind: labels.names
        for kind, labels in model.labels.items()
        if calibration.weights[kind][PARTS.index("network")] > 0.0
    }
    network: Mapping[str, np.ndarray] = {}
    if model.softmax is not None and heard:
        network = model.softmax.log_probabilities(vectors, heard)
    outside = out_of_distribution(ood, similarity, calibration.usual_ood, calibration.usual_nearest)
    probabilities, unknown = {}, np.zeros(len(vectors))
    for kind, labels in model.labels.items():
        shares = vote_shares(similarity, codes[kind], len(labels.names), calibration.temperature)
        head = model.heads.get(kind)
        scores = None if head is None else head.scores(vectors)
        parts = log_votes(shares), scores, network.get(kind)
        pooled = pool(parts, calibration.weights[kind])
        if kind == "author":
            ratio, line = None, calibration.unknown
            if head is not None and scores is not None and line is not None:
                ratio = scores.max(axis=1) - head.unseen(vectors)
            line = line or (UNFITTED if similarity.shape[1] else NOTHING_KNOWN)
            unknown = unknown_probability(familiarity(similarity, ratio), line, unknown_prior)
            unknown = 1.0 - (1.0 - unknown) * (1.0 - outside)
        prior = np.asarray(labels.counts, np.float64)
        prior = prior / max(prior.sum(), 1.0)
        probabilities[kind] = pooled + outside[:, None] * (prior - pooled)
    return Prediction(model.labels, probabilities, unknown, outside, tuple(network))
