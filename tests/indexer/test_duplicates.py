"""Duplicates are found and told from from drawings that are only similar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ImageEnhance

from crawler.importers.folder import import_folder
from indexer.duplicates import _candidates, find_duplicates
from schemas.settings import load_settings
from tests.drawings import drawing
from tests.small_model import ENVIRON


def test_three_lists(tmp_path: Path) -> None:
    root = tmp_path / "drawings"
    for author in ("anna", "bob", "cy"):
        for title in ("one", "two"):
            (root / author / title).mkdir(parents=True)
    original = drawing(3, 1, 300)
    original.save(root / "anna" / "one" / "a.png")
    original.save(root / "anna" / "two" / "same.png")  # the same bytes
    ImageEnhance.Brightness(original).enhance(0.9).save(root / "bob" / "one" / "b.png")
    drawing(2, 1, 300).save(root / "cy" / "one" / "c.png")
    drawing(2, 1, 300).resize((290, 290)).save(root / "cy" / "two" / "d.png")
    drawing(2, 7, 300).save(root / "bob" / "two" / "other.png")
    settings = load_settings({"store.root": str(tmp_path / "data")}, environ=ENVIRON, cwd=tmp_path)
    import_folder(settings.layout, settings, root)
    found = find_duplicates(settings.layout, settings)
    assert [[h.title for h in group] for group in found.exact] == [["one", "two"]]
    assert [(p.first.authors, p.second.authors) for p in found.near] == [(("cy",), ("cy",))]
    assert [{p.first.authors, p.second.authors} for p in found.copied] == [{("anna",), ("bob",)}]
    assert found.unread == 0
    for file in settings.layout.pictures.rglob("*.png"):
        file.unlink()
    assert find_duplicates(settings.layout, settings).unread == found.compared


def test_an_empty_catalog(tmp_path: Path) -> None:
    settings = load_settings({"store.root": str(tmp_path)}, environ=ENVIRON, cwd=tmp_path)
    found = find_duplicates(settings.layout, settings)
    assert (found.exact, found.near, found.copied) == ([], [], [])


def test_candidates_are_all_pairs_with_few_differing_bits() -> None:
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**63, 700, dtype=np.uint64)
    for place in range(0, 700, 7):  # near another one by chosen bits
        flips = rng.choice(64, rng.integers(0, 14), replace=False)
        hashes[place] = hashes[(place * 3 + 1) % 700] ^ np.uint64(sum(1 << int(b) for b in flips))
    numbers = [int(one) for one in hashes]
    expected = sorted(
        (bits, one, other)
        for one in range(700)
        for other in range(one + 1, 700)
        if (bits := (numbers[one] ^ numbers[other]).bit_count()) <= 10
    )
    pairs, bits, left = _candidates(hashes, 10)
    assert [(b, *pair) for b, pair in zip(bits.tolist(), pairs.tolist(), strict=True)] == expected
    assert len(expected) > 50 and left == 0
