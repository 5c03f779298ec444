"""Groups agree with a slow loop, and do not grow by chaining."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.demo.openclipart import near_duplicate_groups


def slow_groups(hashes: np.ndarray, thumbs: np.ndarray, bits: int, least: float) -> list[int]:
    """The definition, as a double loop over plain Python numbers."""
    groups: list[int] = []
    for place in range(len(hashes)):
        for leader in sorted(set(groups)):
            differing = bin(int(hashes[place]) ^ int(hashes[leader])).count("1")
            a, b = thumbs[place].ravel().astype(float), thumbs[leader].ravel().astype(float)
            alike = a.std() > 0 and b.std() > 0 and np.corrcoef(a, b)[0, 1] > least
            if differing <= bits and alike:
                groups.append(leader)
                break
        else:
            groups.append(place)
    return groups


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(0, 15), st.sampled_from([0.5, 0.9, 0.98]))
def test_equals_the_slow_loop(seed: int, bits: int, least: float) -> None:
    rng = np.random.default_rng(seed)
    parents = rng.integers(0, 2**64, 4, dtype=np.uint64)
    pictures = rng.integers(0, 256, (4, 32, 32))
    kind = rng.integers(0, 4, 30)
    flips = np.zeros(30, dtype=np.uint64)
    for _ in range(12):
        flips |= np.where(rng.random(30) < 0.7, 1, 0).astype(np.uint64) << rng.integers(
            0, 64, 30, dtype=np.uint64
        )
    hashes = parents[kind] ^ flips
    noise = rng.normal(0, 1, (30, 32, 32)) * rng.integers(0, 60, (30, 1, 1))
    thumbs = np.clip(pictures[kind] + noise, 0, 255).astype(np.uint8)
    found = near_duplicate_groups(hashes, thumbs, max_hamming_bits=bits, min_correlation=least)
    assert found.tolist() == slow_groups(hashes, thumbs, bits, least)


def test_both_tests_must_agree() -> None:
    rng = np.random.default_rng(1)
    picture, other = rng.integers(0, 256, (2, 32, 32), dtype=np.uint8)
    far, near = np.uint64(2**40 - 1), np.uint64(3)
    zero = np.uint64(0)
    assert near_duplicate_groups(np.array([zero, near]), np.stack([picture] * 2)).tolist() == [0, 0]
    assert near_duplicate_groups(np.array([zero, far]), np.stack([picture] * 2)).tolist() == [0, 1]
    assert near_duplicate_groups(np.array([zero, near]), np.stack([picture, other])).tolist() == [
        0,
        1,
    ]


def test_a_chain_is_not_one_group() -> None:
    """Each picture is near to the next, the ends are far apart: the middle ones may go."""
    rng = np.random.default_rng(2)
    start, end = rng.integers(0, 256, (2, 32, 32)).astype(float)
    steps = [start + (end - start) * share for share in np.linspace(0, 1, 30)]
    thumbs = np.stack(steps).astype(np.uint8)
    groups = near_duplicate_groups(np.zeros(30, np.uint64), thumbs)
    assert groups[0] == 0
    assert groups[1] == 0
    assert 3 < len(set(groups.tolist())) < 30


def test_flat_pictures_are_near_to_nothing() -> None:
    thumbs = np.full((3, 32, 32), 255, np.uint8)
    assert near_duplicate_groups(np.zeros(3, np.uint64), thumbs).tolist() == [0, 1, 2]


def test_empty() -> None:
    empty = near_duplicate_groups(np.zeros(0, np.uint64), np.zeros((0, 32, 32), np.uint8))
    assert empty.shape == (0,)


@pytest.mark.slow
def test_ten_thousand_pictures_take_seconds() -> None:
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**64, 10_000, dtype=np.uint64)
    hashes[5_000:] = hashes[:5_000]
    thumbs = rng.integers(0, 256, (10_000, 32, 32), dtype=np.uint8)
    thumbs[5_000:] = thumbs[:5_000]
    started = time.monotonic()
    groups = near_duplicate_groups(hashes, thumbs)
    assert groups.tolist() == [*range(5_000), *range(5_000)]
    assert time.monotonic() - started < 20  # about one second on an idle core
