"""Label heads: from a style vector to the likelihood of each author, genre or era.

A head is a Gaussian model of hands, in closed form. Each label has a centre; a label's series
scatter around it, and the pictures of a series around that. How much of either is learnt from
the labels together, so that a hand with one short book is trusted less than one with five.
Beside the neighbours' vote it adds what a hand's pictures have in common: the vote is sharp
where a near picture exists, the head where none does.

A generation fits heads on its own catalog; a trained model carries those of its own labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

RIDGE = 1.0
"""Share of the mean within-label variance that is added to each direction of it."""
SERIES_CAP = 20
"""A series counts with at most this many pictures: the next ones tell little that is new."""
SERIES_SHARE = 0.25
"""Share of the variance within a label that lies between series, where no label has two."""
BETWEEN_FLOOR = 1e-3
MIN_LABELS = 2
MAX_LABELS = 20_000
"""With more labels a head would cost more than it tells: the vote answers alone."""


@dataclass(frozen=True)
class Head:
    """One kind of label. Scores are log-likelihoods up to a constant for each picture.

    Shapes:  center (D,), basis (D, E), square, linear (C, E), constant (C,), between (E,)
    """

    labels: tuple[str, ...]
    center: np.ndarray
    basis: np.ndarray
    square: np.ndarray
    linear: np.ndarray
    constant: np.ndarray
    between: np.ndarray

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """Log-likelihood of each label.

        Shapes:  (N, D) -> (N, C)
        """
        x = (vectors - self.center) @ self.basis
        return np.asarray(x @ self.linear.T - (x * x) @ self.square.T + self.constant)

    def stranger(self, vectors: np.ndarray) -> np.ndarray:
        """Log-likelihood of a label that was never seen, on the scale of `scores`.

        Shapes:  (N, D) -> (N,)
        """
        x = (vectors - self.center) @ self.basis
        wide = 1.0 + self.between
        return np.asarray(-0.5 * ((x * x) @ (1.0 / wide) + np.log(wide).sum()))


TENSORS = ("center", "basis", "square", "linear", "constant", "between")


def fit_head(
    vectors: np.ndarray, codes: np.ndarray, series: np.ndarray, labels: tuple[str, ...]
) -> Head | None:
    """Fit a head; None where there is nothing to tell apart.

    The variance within a series, between series and between labels are estimated by moments;
    the first two are made the unit by a linear map, in which the third is diagonal.

    Shapes:  vectors (N, D), codes (N,) int into `labels` or -1, series (N,) int
    Source:  Ioffe 2006 (probabilistic linear discriminant analysis), with a second level
    """
    used = codes >= 0
    present = np.unique(codes[used])
    if len(present) < MIN_LABELS or len(labels) > MAX_LABELS:
        return None
    x = np.asarray(vectors[used], np.float32)
    center = x.mean(0)
    parts = _series_means(x - center, codes[used], series[used])
    within, between_series, share = _scatter(x - center, parts)
    total = within + between_series
    size = float(np.trace(total)) / len(total)
    if not size > 0:  # copies only
        return None
    total = total + RIDGE * size * np.eye(len(total))
    whiten = np.linalg.cholesky(np.linalg.inv(total))

    weight = np.minimum(parts.counts, SERIES_CAP).astype(np.float64)
    sums = _by_label(parts, parts.means * weight[:, None], len(labels))
    centres = sums / np.maximum(_by_label(parts, weight, len(labels)), 1e-9)[:, None] @ whiten
    many = np.maximum(_by_label(parts, np.ones(len(weight)), len(labels)), 1.0)
    pictures = np.maximum(_by_label(parts, parts.counts.astype(np.float64), len(labels)), 1.0)
    doubt = (share + (1.0 - share) * many / pictures) / many  # (C,)

    spread = np.cov(centres[present].T)
    values, axes = np.linalg.eigh(np.atleast_2d(spread))
    kept = min(len(present) - 1, len(values))
    values, axes = values[::-1][:kept], axes[:, ::-1][:, :kept]
    between = np.maximum(values - doubt[present].mean() / (1.0 + RIDGE), BETWEEN_FLOOR)
    gain = between / (between + doubt[:, None])  # (C, E)
    mean, variance = gain * (centres @ axes), gain * doubt[:, None]
    precision = 1.0 / (1.0 + variance)
    constant = 0.5 * (np.log(precision) - mean * mean * precision).sum(1)
    absent = np.setdiff1d(np.arange(len(labels)), present)
    constant[absent] = -np.inf
    return Head(
        labels,
        center,
        *(
            np.ascontiguousarray(part, np.float32)
            for part in (whiten @ axes, 0.5 * precision, mean * precision, constant, between)
        ),
    )


@dataclass(frozen=True)
class _Series:
    """Each series of each label. Shapes: means (P, D), labels (P,), counts (P,), of (N,)"""

    means: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    of: np.ndarray


def _series_means(x: np.ndarray, codes: np.ndarray, series: np.ndarray) -> _Series:
    pairs, of = np.unique(np.stack([codes, series], 1), axis=0, return_inverse=True)
    of = of.reshape(-1)
    counts = np.bincount(of)
    order = np.argsort(of, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means = np.add.reduceat(x[order].astype(np.float64), starts, axis=0) / counts[:, None]
    return _Series(means, pairs[:, 0], counts, of)


def _by_label(parts: _Series, values: np.ndarray, size: int) -> np.ndarray:
    """Sums over the series of each label; (P, ...) -> (C, ...)."""
    total = np.zeros((size, *values.shape[1:]))
    np.add.at(total, parts.labels, values)
    return total


def _scatter(x: np.ndarray, parts: _Series) -> tuple[np.ndarray, np.ndarray, float]:
    """Covariance within series and between the series of a label, and the latter's share."""
    several = parts.counts > 1
    weight = np.zeros(len(parts.counts))
    capped = np.minimum(parts.counts, SERIES_CAP)
    weight[several] = capped[several] / (parts.counts[several] - 1.0)
    rest = (x - parts.means[parts.of]) * np.sqrt(weight[parts.of])[:, None]
    within = rest.T @ rest / max(1.0, float(capped[several].sum()))
    size = parts.labels.max() + 1
    many = _by_label(parts, np.ones(len(parts.counts)), size)
    middle = _by_label(parts, parts.means, size) / np.maximum(many, 1.0)[:, None]
    apart = (parts.means - middle[parts.labels])[many[parts.labels] > 1]
    freedom = float((many - 1.0)[many > 1].sum())
    if not np.trace(within) > 0:  # a picture a series: all that varies is between them
        within = apart.T @ apart / max(1.0, freedom)
        if not freedom:
            within = x.T @ x / len(x)
        return within, np.zeros_like(within), 1.0
    if not freedom:
        return within, within * (SERIES_SHARE / (1.0 - SERIES_SHARE)), SERIES_SHARE
    between = apart.T @ apart / freedom
    noise = float(np.trace(within)) * float((1.0 / parts.counts).mean())
    trace = max(float(np.trace(between)) - noise, 0.02 * float(np.trace(within)))
    between = between * (trace / max(float(np.trace(between)), 1e-12))
    return within, between, trace / (trace + float(np.trace(within)))


def arrays_of(head: Head) -> dict[str, Any]:
    """The head's numbers by name, for storage."""
    return {name: getattr(head, name) for name in TENSORS}
