"""Views and training crops."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.training import augmentation
from indexer.training.augmentation import (
    CROP_PX,
    MADE_HANDS,
    NUISANCE_VIEWS,
    VIEWS,
    hangul_font,
    training_crop,
    turned_hue,
)
from tests.drawings import drawing


@pytest.mark.parametrize("made", range(len(MADE_HANDS) + 1))
def test_training_crops_of_any_shape_have_the_same_size(made: int) -> None:
    for seed in range(12):
        for side in (20, 100, 500):
            image = drawing(2, side, side).crop((0, 0, side, max(8, side // 3)))
            part = training_crop(np.asarray(image), np.random.default_rng(seed), made)
            assert part.shape == (CROP_PX, CROP_PX, 3) and part.dtype == np.uint8
            again = training_crop(np.asarray(image), np.random.default_rng(seed), made)
            assert np.array_equal(part, again)


def test_made_hands_draw_otherwise() -> None:
    lines = np.full((160, 160, 3), 255, np.uint8)
    lines[::16, :, :], lines[60:100, 60:100] = 0, 120
    rng = np.random.default_rng(0)
    redrawn = [hand(lines.copy(), rng) for hand in MADE_HANDS]
    for one in redrawn:
        assert one.dtype == np.uint8 and not np.array_equal(one, lines)
    thicker, thinner, hatched, stretched = redrawn[0], redrawn[1], redrawn[4], redrawn[5]
    assert thicker.mean() < lines.mean() < thinner.mean()
    assert hatched[60:100, 60:100].mean() < 120 and stretched.shape[1] > stretched.shape[0]


def test_turning_hues_keeps_greys_and_comes_round() -> None:
    picture = np.asarray(drawing(1, 2, 40).convert("RGB")).copy()
    picture[:8] = 90
    turned = turned_hue(picture, 60)
    assert (turned[:8] == 90).all() and not np.array_equal(turned, picture)
    red = np.full((2, 2, 3), (255, 0, 0), np.uint8)
    assert turned_hue(red, 60)[0, 0].tolist() == [0, 255, 0]
    assert np.array_equal(turned_hue(red, 180), red)


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
