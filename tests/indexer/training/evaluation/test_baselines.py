"""The baselines: Gram matrices against numpy, networks that learn authors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("timm", reason="training needs timm")

import torch
from PIL import Image
from safetensors.torch import save_file

from indexer.training.evaluation import baselines
from indexer.training.evaluation.baselines import (
    SIDE_PX,
    SKETCH,
    WIDTHS,
    Gram,
    Recipe,
    letterboxed,
    load_gram,
    sketch,
    train_softmax,
)
from schemas.errors import InputError
from tests.drawings import drawing


def test_gram_matrices_are_products_of_the_channels() -> None:
    torch.manual_seed(0)
    network = Gram((1, 1), (3, 4, 5))
    pixels = torch.randint(0, 256, (2, 32, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found = network(pixels)
        mean, std = torch.tensor(baselines.MEAN) * 255, torch.tensor(baselines.STD) * 255
        x = ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
        first = network.blocks[0][0](x).relu()
        second = network.blocks[1][0](torch.nn.functional.max_pool2d(first, 2)).relu()
    assert found.shape == (2, 9 + 16 + 25)
    channels = second[1].flatten(1).numpy()
    wanted = channels @ channels.T / channels.shape[1]
    assert np.allclose(found[1, 9:25].numpy().reshape(4, 4), wanted, rtol=1e-4)


def test_a_sketch_keeps_products() -> None:
    rng = np.random.default_rng(0)
    sizes = [width * width for width in WIDTHS]
    one = rng.random(sum(sizes)).astype(np.float32)
    other = (one + 0.5 * rng.random(sum(sizes))).astype(np.float32)
    unrelated = rng.standard_normal(sum(sizes)).astype(np.float32)
    a, b, c = sketch(one), sketch(other), sketch(unrelated)
    assert a.shape == (len(WIDTHS) * SKETCH,)

    def exact(x: np.ndarray, y: np.ndarray) -> float:
        parts = zip(*(np.split(v, np.cumsum(sizes)[:-1]) for v in (x, y)), strict=True)
        return sum(float(p @ q / np.linalg.norm(p) / np.linalg.norm(q)) for p, q in parts)

    assert a @ b == pytest.approx(exact(one, other), abs=0.2)
    assert a @ c == pytest.approx(exact(one, unrelated), abs=0.3)
    assert np.array_equal(a, sketch(one))


@pytest.mark.parametrize("depth", [(2, 2, 3, 3), (2, 2, 4, 4)])
def test_weights_of_torchvision_are_read(
    depth: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = (2, 3, 4, 5, 5)
    monkeypatch.setattr(baselines.Gram.__init__, "__defaults__", ((2, 2, 3, 3), widths))
    torch.manual_seed(0)
    entries, place, channels = {}, 0, 3
    for width, count in zip(widths, (*depth, depth[-1]), strict=True):
        for _ in range(count):
            entries[f"features.{place}.weight"] = torch.randn(width, channels, 3, 3)
            entries[f"features.{place}.bias"] = torch.randn(width)
            place, channels = place + 2, width
        place += 1
    save_file(entries, tmp_path / "vgg.safetensors")
    torch.save(entries, tmp_path / "vgg.pth")
    for name in ("vgg.safetensors", "vgg.pth"):
        network = load_gram(tmp_path / name)
        assert len(network.blocks[2]) == depth[2]
        last = network.blocks[4][0].weight
        conv5_1 = "features.24.weight" if depth[2] == 3 else "features.28.weight"
        assert torch.equal(last, entries[conv5_1])


def test_what_is_no_vgg_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        load_gram(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError):
        load_gram(tmp_path / "text.pth")
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no weights of VGG"):
        load_gram(tmp_path / "other.safetensors")


def test_small_pictures_lie_in_the_middle_of_a_black_square() -> None:
    square = letterboxed(Image.new("RGB", (300, 150), "white")).reshape(SIDE_PX, SIDE_PX, 3)
    assert (square[SIDE_PX // 2] == 255).all() and not square[:20].any() and not square[-20:].any()


def test_a_softmax_network_learns_authors_and_is_kept(tmp_path: Path) -> None:
    hands = np.repeat([0, 2], 12)
    rows = np.stack([letterboxed(drawing(hand, n, 96)) for n, hand in enumerate(hands)])
    authors = np.array(["line", "", "ring"])[hands]
    recipe = Recipe(
        "one layer",
        lambda: torch.nn.Sequential(torch.nn.AvgPool2d(14), torch.nn.Flatten()),
        *(3 * 16, 2, 8, 25, 1e-2),
    )
    kept: list[np.ndarray] = []

    def keep(compute: Callable[[], np.ndarray]) -> np.ndarray:
        if not kept:
            kept.append(compute())
        return kept[0]

    fitted = train_softmax(recipe, rows, authors, keep)
    shares = fitted.probabilities(rows)
    assert fitted.names.tolist() == ["line", "ring"] and np.allclose(shares.sum(1), 1)
    assert (fitted.names[shares.argmax(1)] == authors).mean() > 0.9
    again = train_softmax(recipe, rows, authors, keep)
    assert np.array_equal(again.features(rows), fitted.features(rows)) and len(kept) == 1
    repeated = train_softmax(recipe, rows, authors)
    assert np.allclose(repeated.probabilities(rows), shares, atol=1e-4)


@pytest.mark.parametrize("recipe", baselines.RECIPES[:1])
def test_the_recipes_fit_their_pictures(recipe: Recipe) -> None:
    rows = np.stack([letterboxed(drawing(hand, 1, 96)) for hand in (0, 1)])
    fitted = train_softmax(recipe, rows, np.array(["a", "b"]), steps=1)
    assert fitted.features(rows).shape == (2, baselines.DENSE)
