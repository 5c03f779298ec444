"""What the pictures that a model's heads know are like to it: see `indexer/labels/deviation.py`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from indexer.embedding.encoder import start_onnxruntime
from indexer.embedding.preprocess import Prepared
from indexer.labels.deviation import UsualDeviation, deviations_of
from indexer.labels.head_files import Heads
from indexer.labels.usual import SAMPLE


def sampled(count: int) -> np.ndarray:
    """SAMPLE of so many pictures, evenly; (M,)"""
    return np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).round().astype(np.int64))


def knowing_their_kind(heads: Heads, network: bytes, pictures: Iterable[Prepared]) -> Heads:
    """The heads, with what is usual of those pictures to the network in their calibration.

    Errors:  NoIndexError when the network cannot be used
    """
    assert heads.calibration is not None
    run = start_onnxruntime(network, len(os.sched_getaffinity(0)), True)
    found = [run(picture.pixels[None])[1] for picture in pictures]
    known = [deviations_of(statistics) for statistics in found if statistics is not None]
    usual = UsualDeviation.of(np.concatenate([np.empty(0), *known]))
    return replace(heads, calibration=replace(heads.calibration, usual_deviation=usual))
