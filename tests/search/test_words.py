"""Search by words: spellings, scripts, typos; which titles come first."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexer.vector_index.metadata import (
    PICTURE_COLUMNS,
    IndexRows,
    PictureRows,
    label_dataset,
    write_meta,
)
from schemas.errors import InputError
from schemas.settings import Settings
from search.cli.app import main
from search.engine import Engine, QueryOptions
from search.filters import Filters, allowed
from search.inputs import QueryPicture
from search.texts import NOT_SHOWN, query_by_words
from search.words import Words, matching
from tests.search.artists import HANDS, PICTURES_PER_TITLE, TITLES_PER_HAND, draw

TITLES = {
    "심청": (["기안84"], ["drama"], []),
    "나 혼자만 레벨업": (["장성락"], ["action"], ["hunters"]),
    "이말년씨리즈": (["이말년"], ["comedy"], []),
    "The Raven's Garden": (["Gustave Doré"], ["ink wash"], ["umbrella"]),
    "Ravenous": (["Anna Kim"], ["horror"], []),
}
FILES = ("umbrella_girl_01.png", "https://x.test/p/black-cat.jpg?size=2", "c/no word.png")
BLANK = dict.fromkeys(
    ("platform", "year", "star_score", "age_rating", "finished", "first_date", "last_date", "url")
)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    titles: dict[str, dict[str, Any]] = {
        name: {
            **BLANK, "title_id": name, "name": name, "genres": genres, "tags": tags,
            "authors": [{"name": one, "role": "author"} for one in authors],
        }
        for name, (authors, genres, tags) in TITLES.items()
    }  # fmt: skip
    columns = (*PICTURE_COLUMNS, "panel", "episode_url")
    pictures = [
        {
            **dict.fromkeys(columns),
            "picture_id": f"{name}{n}",
            "title_id": name,
            "source_path": file,
        }
        for name in sorted(TITLES)
        for n, file in enumerate(FILES if name == "Ravenous" else ("1.png", "2.png"))
    ]
    count = len(pictures)
    vectors = np.eye(count, dtype=np.float16)
    table = PictureRows(pa.Table.from_pylist(pictures))
    rows = IndexRows(vectors, np.arange(count), np.ones(count, np.float32), table, titles)
    path: Path = tmp_path_factory.mktemp("words") / "meta.sqlite"
    write_meta(path, rows, label_dataset(rows, 10))
    with closing(sqlite3.connect(path)) as meta:
        return Words(meta)


def found(words: Words, text: str) -> list[str]:
    """Names of the titles that fit, best first."""
    scores = words.scores(text)
    names = sorted(TITLES)
    numbers = list(dict.fromkeys(words.title[np.argsort(-scores, kind="stable")].tolist()))
    return [names[n] for n in numbers if scores[words.title == n].max() > 0]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("심청", "심청"), ("simcheong", "심청"), ("SHIM-CHEONG", "심청"), ("simchong", "심청"),
        ("Kian84", "심청"), ("gian84", "심청"), ("나혼자만", "나 혼자만 레벨업"),
        ("나혼자만레벨업", "나 혼자만 레벨업"), ("na honjaman", "나 혼자만 레벨업"),
        ("jang seongrak", "나 혼자만 레벨업"), ("Jang Sung-rak", "나 혼자만 레벨업"),
        ("Lee Malnyeon", "이말년씨리즈"), ("이말년", "이말년씨리즈"),
        ("gustave dore", "The Raven's Garden"), ("Doré", "The Raven's Garden"),
        ("gardne raven", "The Raven's Garden"), ("ink wash", "The Raven's Garden"),
        ("umbrela", "The Raven's Garden"), ("huntres", "나 혼자만 레벨업"), ("black cat", "Ravenous"),
        ("anna umbrella", "Ravenous"),
    ],
)  # fmt: skip
def test_what_is_meant_comes_first(words: Words, text: str, title: str) -> None:
    assert found(words, text)[0] == title


def test_nearer_words_come_first(words: Words) -> None:
    assert found(words, "raven") == ["The Raven's Garden", "Ravenous"]
    assert found(words, "ravenous") == ["Ravenous"]


def test_all_words_must_be_there(words: Words) -> None:
    assert not found(words, "raven action") and not found(words, "xyzzy")
    assert not found(words, "png") and not found(words, "test"), (
        "endings and addresses are no words"
    )


def test_a_short_word_and_a_number_have_no_typos(words: Words) -> None:
    assert found(words, "cat") and not found(words, "cot")
    assert found(words, "gian84") and not found(words, "gian85")


def test_the_picture_whose_file_fits_is_the_one_that_is_shown(words: Words) -> None:
    scores = words.scores("black cat")
    assert np.count_nonzero(scores) == 1


@pytest.mark.parametrize("text", ["", "  ", "!?", " ".join("abcdefghijklm")])
def test_a_text_without_words_or_with_too_many_is_refused(words: Words, text: str) -> None:
    with pytest.raises(InputError, match="word"):
        words.scores(text)


# --- In an index.


@pytest.mark.parametrize("by", ["title", "picture"])
def test_an_answer_by_words_looks_like_others(engine: Engine, by: str) -> None:
    answer = query_by_words(engine.generation, "Book anna linea", k=5, by=by)
    assert {title.authors for title in answer.titles} == {(HANDS[0],)}
    assert len(answer.titles) == TITLES_PER_HAND and answer.titles[0].hits[0].file
    assert len(answer.pictures) == (0 if by == "title" else 5)
    assert answer.candidates_count == TITLES_PER_HAND * PICTURES_PER_TITLE
    assert "no style" in answer.notes[-1] and not answer.labels.authors
    nothing = query_by_words(engine.generation, "linea xyzzy", k=5, by=by)
    assert not nothing.titles and nothing.notes[0] == "nothing here is called 'xyzzy'"
    assert nothing.notes[-1] == NOT_SHOWN


def test_filters_hold_for_words(engine: Engine) -> None:
    filters = Filters(exclude_titles=("Book 00",))
    answer = query_by_words(engine.generation, "linea", k=5, by="title", filters=filters)
    assert [title.name for title in answer.titles] == ["Book 01"]


def test_beside_a_picture_words_are_a_filter(engine: Engine) -> None:
    data = io.BytesIO()
    draw(0, 5).save(data, "PNG")
    filters = Filters(text="bertil")
    answer = engine.query([QueryPicture("q.png", data.getvalue())], QueryOptions(filters=filters))
    assert {title.authors for title in answer.titles} == {(HANDS[1],)}
    rows = allowed(engine.generation, filters)
    assert rows is not None and np.array_equal(rows, matching(engine.generation, "bertil"))
    assert answer.candidates_count == len(rows)


def test_the_command_line_prints_what_it_found(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(settings.store.root)
    assert main(["query", "--text", "jeong", "--json", "--data", root]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {title["authors"][0] for title in told["titles"]} == {HANDS[2]}
    assert main(["query", "--text", "?", "--data", root]) == 3
    assert "no word" in capsys.readouterr().err
    assert main(["query", "--text", "x", "--subject", "1", "--data", root]) == 2
