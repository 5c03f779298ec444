"""Which genres are taken for which: held-out titles, and every two genres as a problem of two."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from indexer.labels.calibration import LabelDataset

MIN_PICTURES = 5
"""Of each of two genres: fewer show nothing."""


@dataclass(frozen=True)
class Pair:
    """Two genres. `mistaken` is the share of each one's pictures that is called the other, of all
    genres; `told_apart` the balanced accuracy when only these two are asked about (0.5 is chance).
    """

    genres: tuple[str, str]
    pictures: tuple[int, int]
    mistaken: tuple[float, float]
    told_apart: float


@dataclass(frozen=True)
class Confusion:
    """Genres of pictures of held-out titles; pairs with the most ambiguous first.

    Shapes:  matrix (G, G) pictures, a row for each true genre
    """

    genres: tuple[str, ...]
    matrix: np.ndarray
    accuracy: float
    balanced_accuracy: float
    pairs: tuple[Pair, ...]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "genres": list(self.genres),
            "matrix": self.matrix.tolist(),
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "pairs": [asdict(pair) for pair in self.pairs],
        }


def genre_confusion(data: LabelDataset) -> Confusion | None:
    """The confusion of heads that have not seen the titles that they are asked about; None where
    fewer than two genres can be measured."""
    alone = replace(
        data, codes={"genre": data.codes["genre"]}, names={"genre": data.names["genre"]}
    )
    codes, folds = alone.codes["genre"], data.folds()
    scores = np.full((len(codes), len(alone.names["genre"])), -np.inf, np.float32)
    for fold in np.unique(folds[codes >= 0]):
        head = alone.fitted_heads(np.flatnonzero(folds != fold)).get("genre")
        if head is None:
            continue
        asked = np.flatnonzero((folds == fold) & (codes >= 0))
        scores[asked] = head.scores(alone.vectors[asked])
    judged = np.isfinite(scores.max(1, initial=-np.inf))
    return confusion(scores[judged], codes[judged], alone.names["genre"])


def confusion(scores: np.ndarray, truth: np.ndarray, names: tuple[str, ...]) -> Confusion | None:
    """The confusion that scores give; None where fewer than two genres can be measured.

    Shapes:  scores (N, G), truth (N,) int, G names
    """
    count = len(names)
    matrix = np.zeros((count, count), np.int64)
    if len(scores):
        np.add.at(matrix, (truth, scores.argmax(1)), 1)
    sizes = matrix.sum(1)
    measured = np.flatnonzero(sizes >= MIN_PICTURES)
    if len(measured) < 2:
        return None
    recalls = matrix[measured, measured] / sizes[measured]
    pairs = []
    for left, right in itertools.combinations(measured.tolist(), 2):
        right_calls = [
            float((scores[truth == one, one] > scores[truth == one, other]).mean())
            for one, other in ((left, right), (right, left))
        ]
        pairs.append(
            Pair(
                (names[left], names[right]),
                (int(sizes[left]), int(sizes[right])),
                (
                    float(matrix[left, right] / sizes[left]),
                    float(matrix[right, left] / sizes[right]),
                ),
                float(np.mean(right_calls)),
            )
        )
    return Confusion(
        names,
        matrix,
        float(np.trace(matrix) / sizes.sum()),
        float(recalls.mean()),
        tuple(sorted(pairs, key=lambda pair: pair.told_apart)),
    )
