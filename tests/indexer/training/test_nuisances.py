"""Changed copies differ from the drawing, but only as a scanner or a cut may."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from indexer.embedding.models import DESCRIPTION_FILE, shipped_model_dir
from indexer.embedding.preprocess import prepare
from indexer.training import nuisances
from indexer.training.augmentation import THUMBNAIL, VIEWS
from indexer.training.export import SHIPPED_SPEC
from indexer.training.features import spec_of
from indexer.training.grey_parts import grey_part
from indexer.training.model import GROUPS
from indexer.training.nuisances import NUISANCES, part, scanned, scanned_part
from indexer.training.spaces import METHOD, standard_spaces
from tests.drawings import washed
from tests.search.hands import draw


def test_the_shipped_model_was_made_by_the_recipe_in_the_code() -> None:
    about = json.loads((shipped_model_dir() / DESCRIPTION_FILE).read_bytes())
    told = about["provenance"]["method"]
    assert {"scanned", "part", "scanned part"} == set(NUISANCES)
    shares = ", ".join(f"{name} {nuisance.share:g}" for name, nuisance in NUISANCES.items())
    assert f"({shares}; ridge" in told  # else: make model card
    assert about["pixels"] == SHIPPED_SPEC.to_json()
    weights = {group.name: group.weight for group in GROUPS}
    assert about["provenance"]["statistics"] == weights
    method = next(s for s in standard_spaces("model", "", quick=True) if s.name == METHOD)
    assert method.nuisances == tuple(NUISANCES) and method.restored


def test_a_scan_is_always_the_same_and_of_the_same_size() -> None:
    image = draw(1, 4)
    first, second = scanned(image), scanned(image.copy())
    assert first.tobytes() == second.tobytes()
    assert (first.size, first.mode) == (image.size, "RGB")


def test_pictures_are_scanned_each_in_its_own_way() -> None:
    changes = []
    for number in range(60):
        image = draw(number % 3, number)
        copy = np.asarray(scanned(image), float)
        changes.append((copy - np.asarray(image, float)).mean((0, 1)))
        grey = np.asarray(image.convert("L"), float).ravel()
        assert np.corrcoef(grey, copy.mean(2).ravel())[0, 1] > 0.5  # it is still that drawing
    tone = np.array(changes)
    assert len(np.unique(tone.round(3), axis=0)) == 60
    assert tone.mean(0)[2] < tone.mean(0)[0] < 0  # paper yellows: blue is lost first


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (40, 17)])
def test_any_shape_can_be_scanned(size: tuple[int, int]) -> None:
    for tone in range(0, 250, 10):
        assert scanned(Image.new("RGB", size, (tone, tone, 255 - tone))).size == size


def lies_in(cut: np.ndarray, whole: np.ndarray) -> bool:
    """Whether a picture is a rectangle of another, pixel by pixel."""
    windows = np.lib.stride_tricks.sliding_window_view(whole[..., 0], cut.shape[:2])
    top, left = np.nonzero((windows[:, :, 0] == cut[0, :, 0]).all(2))
    return any(
        np.array_equal(whole[t : t + cut.shape[0], x : x + cut.shape[1]], cut)
        for t, x in zip(top, left, strict=True)
    )


def test_a_part_is_cut_out_of_the_drawing_and_nothing_else() -> None:
    shares, mirrored = [], 0
    for number in range(40):
        image = draw(number % 3, number)
        cut, whole = np.asarray(part(image)), np.asarray(image)
        assert part(image.copy()).tobytes() == part(image).tobytes()
        as_it_is = lies_in(cut, whole)
        assert as_it_is or lies_in(cut[:, ::-1], whole)
        mirrored += not as_it_is
        shares.append(np.divide(cut.shape[:2], whole.shape[:2]))
    found = np.array(shares)
    assert 0.5 < found.min() < 0.65
    assert 0.9 < found.max() <= 1.0
    assert 8 < mirrored < 32


def test_the_scanned_part_is_another_part() -> None:
    image = draw(1, 4)
    assert scanned_part(image).tobytes() == scanned_part(image.copy()).tobytes()
    sizes = [(part(p).size, scanned_part(p).size) for p in (draw(1, n) for n in range(5))]
    assert any(one != other for one, other in sizes)


def test_some_scanned_parts_are_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [draw(number % 3, number) for number in range(60)]
    found = [scanned_part(image).size for image in images]
    monkeypatch.setattr(nuisances, "REDUCED", 0.0)
    whole = [scanned_part(image).size for image in images]
    shares = [small[0] / large[0] for small, large in zip(found, whole, strict=True)]
    reduced = [share for share in shares if share < 1]
    assert 6 < len(reduced) < 26 and {share for share in shares if share not in reduced} == {1.0}
    assert 0.38 < min(reduced) < 0.55 < 0.65 < max(reduced) <= 0.8


def test_parts_become_as_large_as_wholes_and_nothing_else_does() -> None:
    small = draw(1, 4).resize((200, 160))
    assert max(prepare(small, spec_of(part, SHIPPED_SPEC)).pixels.shape) == 480
    for view in (None, scanned, scanned_part, VIEWS["half size"], THUMBNAIL):
        assert spec_of(view, SHIPPED_SPEC) == SHIPPED_SPEC
    assert max(prepare(small, SHIPPED_SPEC).pixels.shape) < 480


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (40, 17)])
def test_any_shape_has_parts(size: tuple[int, int]) -> None:
    for tone in range(0, 250, 50):
        image = Image.new("RGB", size, (tone, tone, 255 - tone))
        for cut in (part(image), scanned_part(image)):
            assert 1 <= cut.width <= size[0]
            assert 1 <= cut.height <= size[1]


def test_a_grey_part_is_the_part_without_its_colours_and_as_large() -> None:
    image = washed(3)
    wanted = np.asarray(part(image).convert("L").convert("RGB"))
    assert np.array_equal(np.asarray(grey_part(image)), wanted)
    assert spec_of(grey_part, SHIPPED_SPEC) == spec_of(part, SHIPPED_SPEC)
    assert spec_of(part, SHIPPED_SPEC) != spec_of(VIEWS["grey"], SHIPPED_SPEC) == SHIPPED_SPEC
