"""The closed form that turns raw statistics into a space of hands: no gradient step.

What varies within one author's drawings (subject, paper, scanner) is nuisance; dividing by it
is worth five points of R@1 on authors that were never seen. There are more statistics than
pictures, so everything is computed between pictures and never between statistics.
"""

from __future__ import annotations

import numpy as np

from indexer.training.model import CLIP, Projection
from schemas.errors import InputError

RIDGE = 3.0
"""Added to the within-author covariance of unit mean variance: directions that are quiet
within 36 hands need not be quiet within others."""

FLOOR = 1e-6
RANK_FLOOR = 1e-9


def within_deviations(rows: np.ndarray, authors: np.ndarray, total: float) -> np.ndarray:
    """Rows D whose D^T D is the mean over authors of the covariance within an author.

    Shapes:  rows (N, S), authors (N,) -> (M, S), scaled so that its squares sum to `total`
    Errors:  InputError when no author has two different pictures
    """
    parts = []
    for author in np.unique(authors):
        own = rows[authors == author]
        if len(own) >= 2:
            parts.append((own - own.mean(0)) / np.sqrt(len(own)))
    found = float(sum((part**2).sum() for part in parts))
    if not found > 0:
        raise InputError("whitening needs an author with two different pictures")
    return np.asarray(np.concatenate(parts) * np.sqrt(total / found))


def fit_projection(
    statistics: np.ndarray,
    authors: np.ndarray,
    dimension: int = 256,
    ridge: float = RIDGE,
    weights: np.ndarray | None = None,
) -> Projection:
    """Standardise, weigh, whiten by what varies within authors, keep the strongest directions.

    With D the within-author deviations and P = (D^T D + ridge)^-1, the similarity of two
    pictures is x^T P y; the directions are the principal ones of that geometry. P is applied
    through Woodbury's identity, P X = (X - D^T (D D^T + ridge)^-1 D X) / ridge.

    Shapes:  statistics (N, S), authors (N,), weights (S,) -> Projection (S,), (S,), (S, d),
             where d = dimension
    Errors:  InputError when the pictures span fewer directions than wanted
    Source:  ../shared/accuracy.md, "whitened"; Hatch et al. 2006 (within-class covariance
             normalisation), with a ridge; Schoelkopf et al. 1998 (kernel PCA)
    """
    x = np.asarray(statistics, np.float64)
    center, scale = x.mean(0), 1.0 / (x.std(0) + FLOOR)
    weigh = np.ones(x.shape[1]) if weights is None else np.asarray(weights, np.float64)
    z = np.clip((x - center) * scale, -CLIP, CLIP) * weigh
    deviations = within_deviations(z, authors, float((weigh**2).sum()))
    inner = deviations @ deviations.T + ridge * np.eye(len(deviations))
    removed = deviations.T @ np.linalg.solve(inner, deviations @ z.T)
    whitened = (z.T - removed) / ridge  # (S, N): P z
    values, directions = np.linalg.eigh(z @ whitened)
    values, directions = values[::-1][:dimension], directions[:, ::-1][:, :dimension]
    if len(values) < dimension or not values[-1] > RANK_FLOOR * values[0]:
        raise InputError(f"{len(x)} pictures do not span {dimension} dimensions")
    matrix = weigh[:, None] * (whitened @ (directions / np.sqrt(values)))
    # Cosines do not know the scale; with this one float16 storage keeps small entries.
    return Projection(center, scale, matrix / np.abs(matrix).max())
