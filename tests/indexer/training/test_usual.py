"""What a model's heads are told of the pictures that they know."""

import numpy as np
import pytest

pytest.importorskip("torch")

from indexer.embedding.encoder import Encoder
from indexer.embedding.models import shipped_model_dir
from indexer.embedding.preprocess import prepare
from indexer.labels.deviation import LEAST, UsualDeviation
from indexer.labels.head_files import HeadCalibration, Heads
from indexer.training.usual import SAMPLE, knowing_their_kind, sampled
from tests.drawings import drawing


def test_a_sample_is_spread_evenly() -> None:
    assert sampled(10).tolist() == list(range(10))
    assert sampled(1).tolist() == [0]
    many = sampled(100_000)
    assert len(many) == SAMPLE and (many[0], many[-1]) == (0, 99_999)
    assert set(np.diff(many)) <= {195, 196}


def test_heads_learn_what_is_usual_of_the_pictures_to_the_network() -> None:
    encoder = Encoder.open(shipped_model_dir())
    pictures = [
        prepare(drawing(seed % 4, seed, 96), encoder.pixel_spec) for seed in range(LEAST + 4)
    ]
    network = (shipped_model_dir() / "model.onnx").read_bytes()
    bare = Heads({}, HeadCalibration({"author": 0.5}, measured={"author_top1": 0.25}))
    found = knowing_their_kind(bare, network, iter(pictures)).calibration
    assert found is not None and found.measured == {"author_top1": 0.25}
    wanted = UsualDeviation.of(encoder.look(pictures).deviation)
    assert wanted is not None and found.usual_deviation == pytest.approx(wanted)
    few = knowing_their_kind(bare, network, pictures[:5]).calibration
    assert few == bare.calibration
