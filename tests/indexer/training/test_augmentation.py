"""Views and training crops."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.embedding.preprocess import PixelSpec
from indexer.training import augmentation
from indexer.training.augmentation import CROP_PX, NUISANCE_VIEWS, VIEWS, augmented, hangul_font
from tests.drawings import drawing


def test_training_crops_of_any_shape_have_the_same_size() -> None:
    for seed in range(12):
        for side in (20, 100, 500):
            image = drawing(2, side, side).crop((0, 0, side, max(8, side // 3)))
            rng = np.random.default_rng(seed)
            assert augmented(image, PixelSpec(352, 224, 32), rng).shape == (CROP_PX, CROP_PX, 3)


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_fixed_and_do_what_they_say(name: str) -> None:
    image = drawing(1, 3, 300)
    view = VIEWS[name](image)
    assert view.mode == "RGB" and view.tobytes() == VIEWS[name](image).tobytes()
    sizes = {"half size": (150, 150), "thumbnail": (120, 120), "80 % crop": (240, 240)}
    sizes |= {"margin of 10 %": (360, 360), "thumbnail of 112 px": (112, 112)}
    assert view.size == sizes.get(name, image.size)
    assert view.tobytes() != image.tobytes()


def test_lettering_is_laid_over_in_two_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    image = drawing(1, 3, 300)
    found = np.asarray(VIEWS["lettering"](image))
    changed = (found != np.asarray(image)).any(2)
    assert changed[:100].any() and changed[200:].any() and not changed[120:180].any()
    if hangul_font() is None:
        pytest.skip("no font with Hangul")
    with_hangul = found[200:]
    monkeypatch.setattr(augmentation, "HANGUL_FONTS", ("there is no such font.ttf",))
    hangul_font.cache_clear()
    latin_only = np.asarray(VIEWS["lettering"](image))
    hangul_font.cache_clear()
    assert np.array_equal(latin_only[:100], found[:100])
    assert not np.array_equal(latin_only[200:], with_hangul)


def test_what_the_closed_form_ignores_are_views() -> None:
    assert set(NUISANCE_VIEWS) < set(VIEWS)
    grey = np.asarray(VIEWS["grey"](drawing(3, 3, 60)))
    assert (grey == grey[..., :1]).all()
