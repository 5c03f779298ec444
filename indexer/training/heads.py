"""The labels that a model carries: closed-form heads on all of its pictures, calibrated on
held-out titles. Softmax heads only steer training."""

from __future__ import annotations

import numpy as np

from indexer.labels.calibration import LabelDataset
from indexer.labels.predict import LabelModel
from indexer.training.data import Classes

SAMPLE = 4000
SEED = 20051


def label_dataset(vectors: np.ndarray, ood: np.ndarray, classes: Classes) -> LabelDataset:
    """Pictures with their classes, as labels are fitted on them; the first genre counts.

    Shapes:  vectors (N, D) unit, ood (N,)
    """
    genre = np.full(len(vectors), -1)
    if classes.genre.size:
        genre = np.where(classes.genre.any(1), classes.genre.argmax(1), -1)
    codes = {"author": classes.author, "genre": genre, "era": classes.era}
    names = {kind: tuple(classes.names.get(kind, ())) for kind in codes}
    return LabelDataset(vectors, np.arange(len(vectors)), classes.series, codes, names, ood)


def fit_heads(vectors: np.ndarray, ood: np.ndarray, classes: Classes) -> LabelModel:
    """Heads of every kind that has two labels, with a calibration that needs no neighbours."""
    data = label_dataset(vectors, ood, classes)
    return LabelModel.fit(data, sample=SAMPLE, seed=SEED, neighbours=0)
