"""What is put back into the vectors of enlarged and of grey pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from indexer.embedding.encoder import Encoder
from indexer.embedding.models import shipped_model_dir
from indexer.embedding.preprocess import Prepared, prepare
from indexer.embedding.restoration import RESTORATION_FILE, Restoration, conditions, greyness
from schemas.errors import NoIndexError
from tests.drawings import drawing, washed

DIMENSION = 24


def some_maps(seed: int = 0) -> Restoration:
    random = np.random.default_rng(seed)
    maps = random.normal(0, 0.1, (2, DIMENSION + 1, DIMENSION)).astype(np.float32)
    return Restoration(maps[0], maps[1], (1.5, 2.0))


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def some_vectors(count: int, seed: int = 1) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION))
    return unit(rows.astype(np.float32))


@given(st.integers(0, 100), st.integers(1, 7))
def test_it_is_the_two_maps_and_does_not_depend_on_the_batch(seed: int, count: int) -> None:
    maps, vectors = some_maps(seed), some_vectors(count, seed)
    random = np.random.default_rng(seed)
    found = random.choice([0.0, 0.3, 1.0], (count, 2))
    restored = maps.apply(vectors, found)
    for row, vector in enumerate(vectors):
        one, (doubled, grey) = np.append(vector, 1.0), found[row]
        wanted = unit(vector + doubled * (one @ maps.enlarged) + grey * (one @ maps.grey))
        assert restored[row] == pytest.approx(wanted, abs=1e-5)
        alone = maps.apply(vectors[row : row + 1], found[row : row + 1])[0]
        assert np.array_equal(alone, restored[row])
        if not found[row].any():
            assert np.array_equal(restored[row], vector)


def test_icons_are_left_as_they_are() -> None:
    maps, vectors = some_maps(), some_vectors(5)
    found = np.array([[0, 0], [1.5, 0], [1.75, 0], [2, 0], [2, 1]], float)
    amounts = maps.amounts(found)[:, 0]
    assert amounts == pytest.approx([0.0, 1.5, 0.75, 0.0, 0.0])
    restored = maps.apply(vectors, found)
    assert np.array_equal(restored[[0, 3]], vectors[[0, 3]])
    assert not np.array_equal(restored[4], vectors[4])  # but they may lack colour
    near = maps.amounts(np.linspace(0, 2, 400)[:, None] * [1.0, 0.0])[:, 0]
    assert np.abs(np.diff(near)).max() < 0.02  # no step anywhere


def test_greyness_forgives_paper_and_noise_but_sees_colours() -> None:
    random = np.random.default_rng(3)
    grey = np.repeat(random.integers(0, 256, (64, 96, 1), dtype=np.uint8), 3, axis=2)
    assert greyness(grey) == 1.0
    toned = (grey * np.array([1.0, 1.0, 1.0]) * 0.8 + np.array([40, 30, 10])).astype(np.uint8)
    assert greyness(toned) > 0.95
    noisy = np.clip(grey.astype(int) + random.integers(-6, 7, grey.shape), 0, 255).astype(np.uint8)
    assert greyness(noisy) > 0.7
    half = grey.copy()
    half[:, :48] = (200, 40, 40)
    assert greyness(half) == 0.0
    faint = grey.copy()
    tint = np.array([4, 0, -1])
    faint[:, :48] = np.clip(grey[:, :48].astype(int) + tint, 0, 255).astype(np.uint8)
    assert 0.0 < greyness(faint) < 1.0


def test_conditions_of_a_prepared_picture() -> None:
    assert conditions(Prepared(np.full((64, 64, 3), 7, np.uint8), 0.5)) == (0.5, 1.0)


def test_the_file_keeps_the_maps_to_a_hundredth_and_is_the_same_each_time() -> None:
    maps = some_maps()
    data = maps.to_bytes()
    assert data == some_maps().to_bytes()
    again = Restoration.from_bytes(data, DIMENSION, Path("x"))
    assert again.limits == maps.limits
    for one, other in zip(maps[:2], again[:2], strict=True):
        assert other.dtype == np.float32
        assert np.abs(one - other).max() <= np.abs(one).max() / 127
    vectors, found = some_vectors(9), np.ones((9, 2))
    assert (maps.apply(vectors, found) * again.apply(vectors, found)).sum(1).min() > 0.999


def damaged_maps() -> list[bytes]:
    from safetensors.numpy import load, save

    good = load(some_maps().to_bytes())
    other = {**good, "grey": good["grey"][:-1].copy()}
    endless = {**good, "enlarged.scale": np.full(DIMENSION, np.inf, np.float32)}
    missing = {name: value for name, value in good.items() if name != "grey"}
    turned = {**good, "limits": np.array([2.0, 1.0], np.float32)}
    cut = some_maps().to_bytes()[:-9]
    return [b"", b"nonsense" * 9, cut, *map(save, (turned, other, endless, missing))]


@pytest.mark.parametrize("data", damaged_maps())
def test_a_file_that_is_none_is_one_clear_line(data: bytes) -> None:
    with pytest.raises(NoIndexError, match=r"maps\.safetensors"):
        Restoration.from_bytes(data, DIMENSION, Path("maps.safetensors"))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_model_dir(), tmp_path / "model"))


def test_a_changed_or_missing_file_is_noticed_before_it_is_parsed(copied: Path) -> None:
    picture = [Prepared(np.zeros((64, 64, 3), np.uint8), 0.0)]
    file = copied / RESTORATION_FILE
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    with pytest.raises(NoIndexError, match="damaged"):
        Encoder.open(copied).encode(picture)
    file.unlink()
    with pytest.raises(NoIndexError, match=RESTORATION_FILE):
        Encoder.open(copied).encode(picture)


def test_a_model_of_the_first_format_has_none(copied: Path) -> None:
    """Generations that are published already carry such models and must go on answering."""
    about = json.loads((copied / "model.json").read_text())
    del about["files"][RESTORATION_FILE]
    (copied / "model.json").write_text(json.dumps({**about, "format_version": 1}))
    (copied / RESTORATION_FILE).unlink()
    coloured = Prepared(np.asarray(drawing(3, 3, 352)), 0.0)
    assert conditions(coloured) == (0.0, 0.0)
    small = coloured._replace(enlarged=1.0)
    before, now = Encoder.open(copied), Encoder.open(shipped_model_dir())
    assert np.array_equal(before.encode([coloured]), now.encode([coloured]))
    assert np.array_equal(before.encode([small]), before.encode([coloured]))
    assert not np.array_equal(now.encode([small]), now.encode([coloured]))


def test_small_and_grey_copies_come_nearer_to_their_pictures(copied: Path) -> None:
    about = json.loads((copied / "model.json").read_text())
    del about["files"][RESTORATION_FILE]
    (copied / "model.json").write_text(json.dumps(about))
    plain, restored = Encoder.open(copied), Encoder.open(shipped_model_dir())
    spec = restored.pixel_spec
    pictures = [drawing(hand, seed, 352) for hand in range(3) for seed in range(3)]
    small = [picture.resize((176, 176), Image.Resampling.LANCZOS) for picture in pictures]
    # Of flat synthetic colours the shipped map knows nothing: it has seen plates of books.
    plates = [washed(seed) for seed in range(9)]
    grey = [plate.convert("L").convert("RGB") for plate in plates]
    cosine = {}
    for name, encoder in (("plain", plain), ("restored", restored)):
        for what, copies, wholes in (("small", small, pictures), ("grey", grey, plates)):
            whole = encoder.encode([prepare(picture, spec) for picture in wholes])
            vectors = encoder.encode([prepare(copy, spec) for copy in copies])
            cosine[name, what] = float((vectors * whole).sum(1).mean())
    assert cosine["restored", "small"] > cosine["plain", "small"]
    assert cosine["restored", "grey"] > cosine["plain", "grey"]
