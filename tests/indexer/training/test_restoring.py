"""What is learnt from small and grey copies, where the truth is planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")

from indexer.training.restoring import Copies, coloured_rows

COUNT, DIMENSION = 900, 12


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def planted(seed: int = 0, coloured: float = 0.5) -> tuple[Copies, np.ndarray]:
    """Copies that lost something along two directions; and which pictures are coloured."""
    random = np.random.default_rng(seed)
    whole = unit(random.standard_normal((COUNT, DIMENSION)))
    blur, palette = np.eye(DIMENSION)[:2]
    has_colour = random.random(COUNT) < coloured
    whole[has_colour] = unit(whole[has_colour] + palette)
    doubled = random.choice([0.5, 1.0, 1.5], COUNT)
    # What is lost depends on the picture, linearly: a constant alone would not find it.
    small = unit(whole + doubled[:, None] * (0.5 * blur - 0.3 * np.roll(whole, 1, axis=1)))
    grey = unit(whole[has_colour] - 0.8 * palette)
    part = unit(whole[has_colour] + 0.3 * random.standard_normal(whole[has_colour].shape))
    grey_part = unit(part - 0.8 * palette)
    told = np.stack([np.zeros(COUNT), ~has_colour], axis=1).astype(float)
    small_told = np.stack([doubled, ~has_colour], axis=1).astype(float)
    return Copies(whole, small, grey, part, grey_part, told, small_told), has_colour


def test_what_was_lost_is_put_back_in_pictures_that_were_not_seen() -> None:
    maps = planted(0)[0].restoration(lambda rows: rows)
    new, has_colour = planted(1)
    enlarged = np.stack([new.small_conditions[:, 0], np.zeros(COUNT)], axis=1)
    restored = maps.apply(new.small, enlarged)
    before, after = ((part * new.whole).sum(1).mean() for part in (new.small, restored))
    assert before < 0.9 and after > before + 0.05
    greyed = np.tile([0.0, 1.0], (int(has_colour.sum()), 1))
    restored = maps.apply(new.grey, greyed)
    truth = new.whole[has_colour]
    before, after = ((part * truth).sum(1).mean() for part in (new.grey, restored))
    assert after > before + 0.02


def test_drawings_that_never_had_colours_are_held_where_they_are() -> None:
    copies, has_colour = planted(2)
    maps = copies.restoration(lambda rows: rows)
    plain = copies.whole[~has_colour]
    kept = maps.apply(plain, np.tile([0.0, 1.0], (len(plain), 1)))
    moved = maps.apply(copies.grey, np.tile([0.0, 1.0], (len(copies.grey), 1)))
    assert (kept * plain).sum(1).mean() > (moved * copies.grey).sum(1).mean() + 0.02


def as_it_is(rows: np.ndarray) -> np.ndarray:
    return rows


def test_where_nothing_is_coloured_nothing_is_put_back() -> None:
    copies, has_colour = planted(3, coloured=0.0)
    assert not has_colour.any() and not len(copies.coloured) and copies.grey.shape[0] == 0
    maps = copies.restoration(as_it_is)
    assert np.abs(maps.grey).max() < 1e-6
    assert np.isfinite(maps.enlarged).all()
    greyed = copies.in_grey(as_it_is, maps).apply(copies.whole)
    assert greyed == pytest.approx(copies.whole, abs=2e-3)  # the ridge is none for lengths alone


def test_a_grey_copy_finds_its_picture_among_what_vectors_become_in_grey() -> None:
    """Where a colour hides the hand: of new pictures, which the map has not learnt from."""
    learnt, (new, has_colour) = planted(0)[0], planted(1)
    maps = learnt.restoration(as_it_is)
    in_grey = learnt.in_grey(as_it_is, maps)
    told = new.whole_conditions
    asked = maps.without_colours(new.grey, told[has_colour])
    kept = maps.apply(new.whole, told)
    own = np.flatnonzero(has_colour)

    def likeness(questions: np.ndarray, vectors: np.ndarray) -> float:
        return float((questions * vectors[own]).sum(1).mean())

    before = likeness(maps.apply(new.grey, np.tile([0.0, 1.0], (len(own), 1))), kept)
    greyed = in_grey.apply(kept)
    assert likeness(asked, greyed) > max(before, likeness(asked, kept)) + 0.05
    plain = np.flatnonzero(~has_colour)
    moved = (greyed * kept).sum(1)
    assert moved[plain].mean() > moved[own].mean() + 0.05  # what is plain stays what it is


def test_parts_teach_what_vectors_become_as_wholes_do() -> None:
    copies, _ = planted(5)
    maps = copies.restoration(as_it_is)
    whole = copies.in_grey(as_it_is, maps)
    wrong = replace(copies, grey_part=np.roll(copies.grey_part, 1, axis=1))
    assert np.abs(copies.in_grey(as_it_is, maps).change - whole.change).max() == 0
    assert np.abs(wrong.in_grey(as_it_is, maps).change - whole.change).max() > 0.1


def test_features_pass_through_the_space_that_is_asked_for() -> None:
    copies, _ = planted(4)
    turned = np.roll(np.eye(DIMENSION), 1, axis=1)
    one = copies.restoration(lambda rows: rows)
    other = copies.restoration(lambda rows: rows @ turned)
    bordered = np.pad(turned, ((0, 1), (0, 1)))
    bordered[-1, -1] = 1.0
    assert other.enlarged == pytest.approx(bordered.T @ one.enlarged @ turned, abs=1e-4)


def test_only_pictures_with_all_their_colours_have_grey_copies() -> None:
    assert coloured_rows(np.array([[0, 0.0], [1, 0.2], [0, 1.0], [2, 0.0]])).tolist() == [0, 3]
