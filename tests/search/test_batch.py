"""Many queries at once are answered as one by one."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.errors import InputError
from schemas.images import PictureError
from schemas.records import Answer
from search import batch
from search.batch import Asked, answer_each
from search.engine import Engine, QueryOptions
from search.filters import Filters
from search.inputs import MAX_LINE_BYTES, QueryPicture, listed_paths, read_picture
from search.panels import AUTO
from tests.search.artists import HANDS, draw


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("many")
    made = [folder / f"{n}.png" for n in range(5)]
    for n, file in enumerate(made):
        draw(n % 3, 70 + n).save(file)
    made[3].write_bytes(b"no picture")
    strip = folder / "strip.png"
    Image.fromarray(np.concatenate([np.asarray(draw(0, 60 + n)) for n in range(4)])).save(strip)
    return [*made, strip, folder / "missing.png"]


def all_of(
    engine: Engine, files: list[Path], options: QueryOptions
) -> list[tuple[Path, Asked | PictureError]]:
    def read(file: Path) -> QueryPicture:
        return read_picture(str(file), engine.limits)

    return [one for some in answer_each(engine, files, read, options, AUTO) for one in some]


def told(answer: Answer) -> dict[str, Any]:
    """What must be the same."""
    hits = [*answer.pictures, *(hit for title in answer.titles for hit in title.hits)]
    return {
        "titles": [title.title_id for title in answer.titles],
        "pictures": [(hit.picture_id, hit.asked_by) for hit in hits],
        "said": answer.labels.sentence,
        "notes": answer.notes,
        "queries": answer.queries,
        "count": answer.candidates_count,
        "panels": len(answer.panels),
    }


def numbers(answer: Answer) -> list[float]:
    """What must be the same but for the noise of sums in another order."""
    hits = [*answer.pictures, *(hit for title in answer.titles for hit in title.hits)]
    labels = answer.labels
    return [*(hit.similarity for hit in hits), labels.unknown_author, labels.out_of_distribution]


OPTIONS = [
    QueryOptions(),
    QueryOptions(k=3, by="picture", neighbours=3),
    QueryOptions(k=30, by="picture", filters=Filters(exclude_authors=(HANDS[1],))),
    QueryOptions(filters=Filters(exclude_same_author=True, min_percentile=50.0)),
    QueryOptions(filters=Filters(where="title = 'Book 00'"), subject=0.4),
    QueryOptions(filters=Filters(where="year = 1")),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_answers_are_those_of_single_queries(
    engine: Engine, files: list[Path], options: QueryOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "BATCH", 3)
    found = all_of(engine, files, options)
    assert [file for file, _ in found] == files
    odd = [one for _, one in found if isinstance(one, PictureError)]
    assert len(odd) == 2 and "does not exist" in odd[1].message
    for file, one in found:
        if isinstance(one, Asked):
            alone = engine.query([read_picture(str(file), engine.limits)], options)
            assert told(one.answer) == told(alone)
            assert numbers(one.answer) == pytest.approx(numbers(alone), abs=1e-4)
            assert one.picture.data == b""  # it was let go of


def test_one_search_of_the_index_for_a_batch(
    engine: Engine, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, bool]] = []
    real = engine.generation.index.search

    def search(vectors: np.ndarray, k: int, rows: Any = None, **more: Any) -> Any:
        asked.append((len(vectors), rows is not None))
        return real(vectors, k, rows, **more)

    monkeypatch.setattr(engine.generation.index, "search", search)
    all_of(engine, files[:3], QueryOptions())
    all_of(engine, files[:3], QueryOptions(filters=Filters(exclude_authors=(HANDS[1],))))
    assert asked == [(3, False), (3, False), (3, True)]


def test_what_the_network_cannot_take_costs_no_other(
    engine: Engine, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = engine.encoder.encode
    seen = batch.see

    def bad(pixels: Any, *more: Any) -> Any:
        if any(one.max() == 7 for one in pixels):
            raise RuntimeError("a panic")
        return real(pixels, *more)

    def see(pictures: Any, *more: Any) -> Any:
        found = seen(pictures, *more)
        if pictures[0].name.endswith("1.png"):
            found.pixels = [np.full_like(one, 7) for one in found.pixels]
        return found

    monkeypatch.setattr(engine.encoder, "encode", bad)
    monkeypatch.setattr(batch, "see", see)
    found = [one for _, one in all_of(engine, files[:3], QueryOptions())]
    assert [isinstance(one, Asked) for one in found] == [True, False, True]


def test_no_more_is_read_ahead_than_the_window(
    engine: Engine, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "BATCH", 2)
    monkeypatch.setattr(batch, "WINDOW", 3)
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield files[0]

    def read(file: Path) -> QueryPicture:
        return read_picture(str(file), engine.limits)

    answers = answer_each(engine, endless(), read, QueryOptions(), AUTO)
    assert len(next(answers)) == 2 and taken <= 5


def test_a_wrong_filter_is_told_before_anything_is_read(engine: Engine) -> None:
    options = replace(QueryOptions(), filters=Filters(where="no_column = 1"))
    with pytest.raises(InputError):
        answer_each(engine, [1], lambda _: pytest.fail("read"), options, AUTO)


def test_a_list_has_a_path_a_line(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbfa b.png\r\n\n-\n  \n\xff.png\nlast.png")
    paths = ["a b.png", "./-", os.fsdecode(b"\xff.png"), "last.png"]
    assert list(listed_paths(str(file), io.BytesIO())) == paths
    assert list(listed_paths("-", io.BytesIO(b"x\ny\n"))) == ["x", "y"]
    for odd in (b"\x89PNG\0\0\n", b"x" * MAX_LINE_BYTES):
        with pytest.raises(InputError, match="line 2"):
            list(listed_paths("-", io.BytesIO(b"a.png\n" + odd)))
    for name in (str(tmp_path), str(tmp_path / "none"), "\0"):
        with pytest.raises(InputError, match="cannot be read"):
            listed_paths(name, io.BytesIO())
