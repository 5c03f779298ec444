"""Made-up scans differ from the drawing, but only as a scanner may."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from indexer.training.scans import scanned
from tests.search.hands import draw


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
