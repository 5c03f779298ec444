"""The spaces that are compared: a feature, and what is learnt of it on the training half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.embedding.restoration import GREY_FROM
from indexer.training.model import CLIP, GROUPS, statistics_weights
from indexer.training.nuisances import NUISANCES
from indexer.training.restoring import IN_GREY_RIDGE, LIMITS, RESTORING_RIDGE
from indexer.training.whitening import DIMENSION, RIDGE, Changed, fit_projection

Mapped = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray, Sequence[Changed]], Mapped]
"""(train rows, train authors, changed copies of the train rows) -> function of rows."""


def standardized(rows: np.ndarray, authors: np.ndarray, changed: Sequence[Changed]) -> Mapped:
    """Zero mean and unit deviation, as measured on the training half."""
    center = rows.mean(0, dtype=np.float64)
    scale = 1.0 / (rows.std(0, dtype=np.float64) + 1e-6)
    return lambda x: np.asarray((x - center) * scale, np.float32)


def as_it_is(rows: np.ndarray, authors: np.ndarray, changed: Sequence[Changed]) -> Mapped:
    """Nothing is learnt."""
    return lambda x: np.asarray(x, np.float32)


def whitened(dimension: int, weights: np.ndarray | None = None) -> Fit:
    """The closed form of the shipped model, with the strongest directions."""

    def fit(rows: np.ndarray, authors: np.ndarray, changed: Sequence[Changed]) -> Mapped:
        kept = min(dimension, len(rows) - 1, rows.shape[1])
        projection = fit_projection(rows.astype(np.float32), authors, kept, RIDGE, weights, changed)
        center, scale, matrix = (part.astype(np.float32) for part in projection)
        small = type(projection)(center, scale, matrix)
        return lambda x: np.concatenate(
            [small.apply(x[start : start + 512]) for start in range(0, max(1, len(x)), 512)]
        ).astype(np.float32)

    return fit


@dataclass(frozen=True)
class Space:
    """One way of describing pictures.

    `columns` are those of the feature that are used; None: all. `learns` says whether the
    authors of the training half matter, `nuisances` names the changed copies that it is shown
    too, `restored` says whether vectors of enlarged and grey pictures are put right
    (`restoring.py`).
    """

    name: str
    feature: str
    fit: Fit
    columns: np.ndarray | None = None
    note: str = ""
    learns: bool = True
    nuisances: tuple[str, ...] = ()
    restored: bool = False

    def rows(self, features: np.ndarray) -> np.ndarray:
        return features if self.columns is None else features[:, self.columns]


PLAIN = f"all statistics, whitened, {DIMENSION} d"
SCANS = f"all statistics, whitened, scans as nuisance, {DIMENSION} d"
PARTS = f"all statistics, whitened, scans and parts as nuisances, {DIMENSION} d"
METHOD = f"{PARTS}, restored"
RECIPE = [RIDGE, CLIP, [str(group) for group in GROUPS]]
"""What learning depends on that no name of a space says; kept vectors are told apart by it."""

RESTORED_RECIPE = [RESTORING_RIDGE, IN_GREY_RIDGE, LIMITS, GREY_FROM]
"""The same of spaces that are restored."""

FROZEN = "frozen middle statistics"
HEAD = "ImageNet head, 224 px"


def output_columns() -> np.ndarray:
    """Columns of the channels' means and deviations after stages 1-5."""
    return np.flatnonzero(statistics_weights(tuple(g for g in GROUPS if g.kind == "output")))


def standard_spaces(model_name: str, model_note: str, quick: bool = False) -> Sequence[Space]:
    """The rows of the table, weakest first; the model as it is comes last."""
    columns = output_columns()
    spaces = [
        Space("raw pixels, 32 x 32 grey", "pixels", standardized),
        Space("colour histogram, 64 bins", "colours", as_it_is, learns=False),
        Space("VGG-type Gram", "gram", standardized, note="random weights"),
        Space(HEAD, "head", standardized, note="ImageNet weights"),
        Space(FROZEN, "statistics", standardized, columns, "ImageNet weights"),
        Space(f"{FROZEN}, whitened, {DIMENSION} d", "statistics", whitened(DIMENSION), columns),
        Space(PLAIN, "statistics", whitened(DIMENSION, statistics_weights())),
        Space(SCANS, "statistics", whitened(DIMENSION, statistics_weights()),
              nuisances=("scanned",)),
        Space(PARTS, "statistics", whitened(DIMENSION, statistics_weights()),
              nuisances=tuple(NUISANCES)),
        Space(METHOD, "statistics", whitened(DIMENSION, statistics_weights()),
              nuisances=tuple(NUISANCES), restored=True,
              note="as the closed-form model is made, on each training half"),
        Space(f"model {model_name}", "vectors", as_it_is, note=model_note, learns=False),
    ]  # fmt: skip
    slow = {"gram", "head"}
    return [space for space in spaces if not (quick and space.feature in slow)]
