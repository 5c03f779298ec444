"""Pictures of an era laid over each other, against slow loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.era_pictures import mode_picture, overlay
from schemas.images import PictureLimits
from schemas.storage.layout import Layout


def test_the_mode_is_the_commonest_level_of_each_place() -> None:
    rng = np.random.default_rng(4)
    stack = rng.integers(0, 256, (9, 3, 2, 3)).astype(np.uint8)
    found = mode_picture(stack)
    for place in np.ndindex(stack.shape[1:]):
        levels = (stack[(slice(None), *place)] // 16).tolist()
        best = max(sorted(set(levels)), key=lambda level: (levels.count(level), -level))
        assert found[place] == best * 16 + 8


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.pictures.mkdir()
    rng = np.random.default_rng(5)
    for number in range(5):
        pixels = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(layout.pictures / f"{number}.png")
    files = [("x", f"{number}.png") for number in range(5)] + [("x", "no.png"), ("y", "no.png")]
    eras = overlay(layout, PictureLimits(), files)
    assert [(era.era, era.count) for era in eras] == [("x", 5)]
    assert eras[0].histogram.sum(axis=1) == pytest.approx(np.ones(3))
