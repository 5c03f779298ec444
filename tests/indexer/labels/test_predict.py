"""The one function from vectors and neighbours to label probabilities."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from indexer.labels.calibration import LabelDataset
from indexer.labels.knn import log_votes, pool, vote_shares
from indexer.labels.open_set import Usual
from indexer.labels.predict import LabelModel, Prediction, predict
from indexer.labels.softmax import Softmax
from schemas.errors import NoIndexError
from schemas.records import LABEL_KINDS
from tests.indexer.labels.datasets import artists, part_of


@cache
def catalog() -> tuple[LabelDataset, LabelModel]:
    data = artists(24, 3, 8, 1.5)
    return data, LabelModel.fit(data, sample=400, seed=1)


def asked(
    model: LabelModel, data: LabelDataset, vectors: np.ndarray, ood: float = float("nan")
) -> Prediction:
    """The prediction from the nearest pictures of a dataset."""
    similarity = vectors @ data.vectors.T
    order = np.argsort(-similarity, axis=1)[:, : model.calibration.neighbours]
    codes = {kind: data.codes[kind][order] for kind in LABEL_KINDS}
    near = np.take_along_axis(similarity, order, 1)
    return predict(model, near, codes, vectors, np.full(len(vectors), ood), 0.5)


def test_a_prediction_is_the_pool_of_vote_and_head() -> None:
    data, model = catalog()
    vectors = data.vectors[:6]
    told = asked(model, data, vectors)
    similarity = vectors @ data.vectors.T
    order = np.argsort(-similarity, axis=1)[:, : model.calibration.neighbours]
    for kind in LABEL_KINDS:
        count = len(model.labels[kind].names)
        shares = vote_shares(
            np.take_along_axis(similarity, order, 1), data.codes[kind][order], count,
            model.calibration.temperature,
        )  # fmt: skip
        wanted = pool(
            [log_votes(shares), model.heads[kind].scores(vectors)], model.calibration.weights[kind]
        )
        assert told.probabilities[kind] == pytest.approx(wanted)
        assert told.probabilities[kind].sum(1) == pytest.approx(np.ones(6))
    assert (told.out_of_distribution == 0).all()


def test_a_batch_says_what_each_query_says_alone() -> None:
    data, model = catalog()
    together = asked(model, data, data.vectors[:5])
    for row in range(5):
        alone = asked(model, data, data.vectors[row : row + 1])
        assert alone.unknown_author[0] == pytest.approx(together.unknown_author[row], abs=1e-5)
        for kind in LABEL_KINDS:
            assert alone.ranked(0, kind)[0][0] == together.ranked(row, kind)[0][0]


def test_authors_and_the_unknown_one_add_up_to_one_best_first() -> None:
    data, model = catalog()
    told = asked(model, data, data.vectors[:3])
    for row in range(3):
        shares = [share for _, share in told.ranked(row, "author")]
        assert sum(shares) + told.unknown_author[row] == pytest.approx(1.0)
        assert shares == sorted(shares, reverse=True) and len(shares) == 24
        assert told.ranked(row, "author", 5) == told.ranked(row, "author")[:5]
        assert sum(share for _, share in told.ranked(row, "era")) == pytest.approx(1.0)


@pytest.mark.parametrize("ood", [float("nan"), 1e-6, 1e6])
@pytest.mark.parametrize("unlabelled", [0, 30, 39])
def test_one_author_leaves_nothing_to_another(unlabelled: int, ood: float) -> None:
    data = artists(1, 5, 8, 1.0)
    codes = {**data.codes, "author": np.where(np.arange(40) < unlabelled, -1, 0)}
    data = replace(data, codes=codes, names={**data.names, "author": ("only",)})
    model = LabelModel.fit(data, sample=40, seed=1)
    far = np.vstack([data.vectors[:3], -data.vectors[:3]])
    told = asked(model, data, far, ood)
    for row in range(6):
        ((name, share),) = told.ranked(row, "author")
        assert name == "only" and share + told.unknown_author[row] == pytest.approx(1.0)


def test_known_authors_are_known_and_hidden_ones_rather_not() -> None:
    data, _ = catalog()
    hidden = data.codes["author"] >= 20
    rest = part_of(data, ~hidden)
    rest = replace(rest, names={**rest.names, "author": rest.names["author"][:20]})
    new_title = rest.title % 3 == 0
    built = part_of(rest, ~new_title)
    model = LabelModel.fit(built, sample=400, seed=1)
    known = asked(model, built, rest.vectors[new_title])
    unknown = asked(model, built, data.vectors[hidden])
    right = known.probabilities["author"].argmax(1) == rest.codes["author"][new_title]
    assert right.mean() > 0.6
    assert known.unknown_author.mean() < 0.5 < unknown.unknown_author.mean()


def test_out_of_distribution_falls_back_to_the_class_prior() -> None:
    data, model = catalog()
    usual = replace(model.calibration, usual_ood=Usual(-0.4, 0.4, 0.2))
    model = replace(model, calibration=usual)
    plain, half, far = (
        asked(model, data, data.vectors[:4], float(ood))
        for ood in (1.0, np.exp(0.4 + 0.2 * np.arctanh(0.5)), 50.0)
    )
    assert (plain.out_of_distribution == 0).all() and far.out_of_distribution.min() > 0.999
    assert half.out_of_distribution == pytest.approx(np.full(4, 0.5), abs=1e-5)
    assert (plain.unknown_author < half.unknown_author).all() and far.unknown_author.min() > 0.999
    for kind in LABEL_KINDS:
        counts = np.array(model.labels[kind].counts)
        prior = np.tile(counts / counts.sum(), (4, 1))
        assert far.probabilities[kind] == pytest.approx(prior, abs=1e-3)
        middle = (plain.probabilities[kind] + prior) / 2
        assert half.probabilities[kind] == pytest.approx(middle, abs=1e-4)


def test_a_catalog_without_authors_knows_nobody_to_be_unknown_beside() -> None:
    data = artists(12, 3, 6, 1.0)
    codes = {**data.codes, "author": np.full(len(data.title), -1)}
    data = replace(data, codes=codes, names={**data.names, "author": ()})
    model = LabelModel.fit(data, sample=200, seed=1)
    told = asked(model, data, data.vectors[:2])
    assert told.ranked(0, "author") == [] and told.unknown_author.tolist() == [0.0, 0.0]
    assert told.ranked(0, "genre")


def test_a_model_answers_without_neighbours() -> None:
    data, _ = catalog()
    model = LabelModel.fit(data, sample=400, seed=1, neighbours=0)
    nobody = np.empty((len(data.title), 0))
    told = predict(
        model, nobody, dict.fromkeys(LABEL_KINDS, nobody.astype(int)), data.vectors, data.ood, 0.5
    )
    right = told.probabilities["author"].argmax(1) == data.codes["author"]
    assert right.mean() > 0.9


def test_a_label_model_survives_its_folder(tmp_path: Path) -> None:
    data, model = catalog()
    model.write(tmp_path)
    again = LabelModel.read(tmp_path)
    assert again.calibration == model.calibration and again.labels == model.labels
    one, other = (asked(each, data, data.vectors[:3]) for each in (model, again))
    assert one.unknown_author.tolist() == other.unknown_author.tolist()
    (tmp_path / "labels" / "calibration.json").unlink()
    with pytest.raises(NoIndexError):
        LabelModel.read(tmp_path)


def test_a_network_is_heard_where_it_has_a_weight() -> None:
    data, model = catalog()
    weights = {**model.calibration.weights, "author": (0.0, 0.0, 1.0)}
    plain = replace(model, calibration=replace(model.calibration, weights=weights))
    rng = np.random.default_rng(0)
    names = {kind: model.labels[kind].names for kind in ("author", "era")}
    own = {kind: rng.standard_normal((len(names[kind]), data.vectors.shape[1])) for kind in names}
    softmax = Softmax.of(names, own, [])
    nobody = np.empty((3, 0))
    codes = dict.fromkeys(LABEL_KINDS, nobody.astype(int))
    vectors, ood = data.vectors[:3], np.full(3, np.nan)
    asked_with = predict(replace(plain, softmax=softmax), nobody, codes, vectors, ood, 0.5)
    wanted = np.exp(softmax.log_probabilities(vectors, names)["author"])
    assert asked_with.probabilities["author"] == pytest.approx(wanted, abs=1e-6)
    assert asked_with.by_softmax == ("author",)
    without = predict(plain, nobody, codes, vectors, ood, 0.5)
    assert without.probabilities["author"] == pytest.approx(np.full((3, 24), 1 / 24))
    assert (asked_with.probabilities["era"] == without.probabilities["era"]).all()
    assert without.by_softmax == ()
