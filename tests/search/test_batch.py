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
from search.batch import Asked, Looked, answer_each
from search.engine import Engine, QueryOptions, StyleQuery
from search.filters import Filters
from search.inputs import MAX_LINE_BYTES, QueryPicture, listed_paths, read_picture
from search.panels import AUTO, see
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


@pytest.fixture(scope="module")
def looked(engine: Engine, files: list[Path]) -> list[tuple[Looked, StyleQuery]]:
    """The usable files as they are looked at, and encoded, one by one."""
    made = []
    for file in (file for file in files if file.name not in ("3.png", "missing.png")):
        picture = read_picture(str(file), engine.limits)
        seen = see([picture], engine.limits, engine.encoder.pixel_spec, AUTO)
        made.append((Looked(picture, picture.picture_id, seen), engine.encode_seen(seen)))
    return made


@pytest.mark.parametrize("options", OPTIONS)
def test_the_answers_are_those_of_single_queries(
    engine: Engine, looked: list[tuple[Looked, StyleQuery]], options: QueryOptions
) -> None:
    pictures, styles = [one for one, _ in looked], [style for _, style in looked]
    rows = batch.common_rows(engine, options)
    found = batch.answers_to(engine, pictures, styles, options, rows)
    for one, style, answer in zip(pictures, styles, found, strict=True):
        names = [one.picture.name]
        alone = engine.answer(style, options, picture_ids=[one.picture_id], names=names)
        assert isinstance(answer, Answer) and told(answer) == told(alone)
        assert numbers(answer) == pytest.approx(numbers(alone), abs=1e-4)


def test_files_are_answered_in_order_whatever_one_of_them_is(
    engine: Engine,
    files: list[Path],
    looked: list[tuple[Looked, StyleQuery]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "BATCH", 3)
    options = QueryOptions()
    found = all_of(engine, files, options)
    assert [file for file, _ in found] == files
    odd = [one for _, one in found if isinstance(one, PictureError)]
    assert len(odd) == 2 and "does not exist" in odd[1].message
    good = [one for _, one in found if isinstance(one, Asked)]
    for one, (same, style) in zip(good, looked, strict=True):
        alone = engine.answer(
            style, options, picture_ids=[same.picture_id], names=[same.picture.name]
        )
        assert told(one.answer) == told(alone)
        assert numbers(one.answer) == pytest.approx(numbers(alone), abs=1e-4)
        assert one.picture.data == b""  # it was let go of
    assert any(one.answer.panels for one in good)  # of the strip


def test_one_search_of_the_index_for_a_batch(
    engine: Engine, looked: list[tuple[Looked, StyleQuery]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, bool]] = []
    real = engine.generation.index.search

    def search(vectors: np.ndarray, k: int, rows: Any = None, **more: Any) -> Any:
        asked.append((len(vectors), rows is not None))
        return real(vectors, k, rows, **more)

    monkeypatch.setattr(engine.generation.index, "search", search)
    pictures, styles = [one for one, _ in looked], [style for _, style in looked]
    for filters in (Filters(), Filters(exclude_authors=(HANDS[1],))):
        options = QueryOptions(filters=filters)
        batch.answers_to(engine, pictures, styles, options, batch.common_rows(engine, options))
    count = len(looked)
    assert asked == [(count, False), (count, False), (count, True)]


def test_what_the_network_cannot_take_costs_no_other(
    engine: Engine, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = engine.encoder.encode

    def bad(pixels: Any, *more: Any) -> Any:
        if any(one.max() == 7 for one in pixels):
            raise RuntimeError("a panic")
        return real(pixels, *more)

    def odd(pictures: Any, *more: Any) -> Any:
        found = see(pictures, *more)
        if pictures[0].name.endswith("1.png"):
            found.pixels = [np.full_like(one, 7) for one in found.pixels]
        return found

    monkeypatch.setattr(engine.encoder, "encode", bad)
    monkeypatch.setattr(batch, "see", odd)
    found = [one for _, one in all_of(engine, files[:2], QueryOptions())]
    assert [isinstance(one, Asked) for one in found] == [True, False]


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
