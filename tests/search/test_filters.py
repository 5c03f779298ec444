"""The --where sandbox: what it answers, what it refuses, and how it says so."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from indexer.vector_index.generations import Generation
from schemas.errors import InputError
from schemas.settings import Settings
from search.engine import Engine, QueryOptions, StyleQuery
from search.filters import (
    COLUMNS,
    NO_FILTERS,
    Filters,
    allowed,
    author_names,
    folded,
    matching_rows,
    title_ids,
    unknown_names,
)


def matching(engine: Engine, expression: str) -> list[int]:
    connection = engine.generation.connect_meta()
    try:
        return matching_rows(connection, expression).tolist()
    finally:
        connection.close()


def rows(engine: Engine) -> list[dict[str, object]]:
    cursor = engine.generation.meta.execute("select * from catalog")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor]


def test_the_columns_are_those_of_the_view(engine: Engine) -> None:
    assert set(COLUMNS) == set(rows(engine)[0])


@pytest.mark.parametrize(
    ("expression", "keep"),
    [
        ("title = 'Book 00'", lambda r: r["title"] == "Book 00"),
        ("author like 'bertil%'", lambda r: r["author"] == "Bertil Block"),
        ("authors = 'Chung 정'", lambda r: r["author"] == "Chung 정"),
        ("width_px > 100 and not kind = 'x'", lambda r: r["kind"] != "x"),
        ("year is null or year < 2006", lambda r: True),
        ("year < 2006", lambda r: False),
        ("title in ('Book 01', 'Book 11')", lambda r: r["title"] in ("Book 01", "Book 11")),
        ("lower(substr(title, 6)) between '10' and '11'", lambda r: r["title"][5] == "1"),
        ("title = 'Book 00' -- a comment", lambda r: r["title"] == "Book 00"),
        ("genres is null or genres = ''", lambda r: True),
        ("case when title = 'Book 00' then 1 else 0 end", lambda r: r["title"] == "Book 00"),
        ("title <> 'select' and title <> 'a ''with'' b'", lambda r: True),
        ("source_path glob '*/0.png'", lambda r: str(r["source_path"]).endswith("/0.png")),
    ],
)
def test_answers_equal_plain_python(engine: Engine, expression: str, keep: object) -> None:
    expected = sorted(r["row_id"] for r in rows(engine) if keep(r))  # type: ignore[operator]
    assert matching(engine, expression) == expected


HOSTILE = [
    "1; drop table titles",
    "1; select 1",
    "1) or (1",
    "1) union select row_id from catalog --",
    "1 union select 1",
    "1 order by 1",
    "1 limit 1",
    "1 group by 1",
    "row_id in (select row_id from pictures)",
    "exists (select 1)",
    "(select count(*) from sqlite_master) > 0",
    "title in sqlite_master",
    "row_id in pictures",
    "name = 'x' or (select 1)",
    "load_extension('x')",
    "readfile('/etc/passwd') is not null",
    "writefile('x', 'y')",
    "randomblob(1000000000) is not null",
    "zeroblob(1000000000) is not null",
    "hex(zeroblob(100000000)) = ''",
    "printf('%1000000000d', 1) = ''",
    "replace(title, '', title) = ''",
    "group_concat(title) = ''",
    "count(*) > 1",
    "row_number() over () > 1",
    "sqlite_version() = ''",
    "json_each.value = 1",
    "title match 'x'",
    "title regexp 'x'",
    "titles.name = 'x'",
    "pragma_table_info('titles')",
    "row_id in pragma_table_info('titles')",
    "attach database 'x' as y",
    "title = ?",
    "title = :name",
    "title = 'unclosed",
    "title = /* unclosed",
    "title = 'a\x00b'",
    "title = '\x1b[2J'",
    "with x as (select 1) select 1",
    "" + "(" * 500 + "1" + ")" * 500,
    "1 and " * 1000 + "1",
    "title = '\ud800'",
    "   ",
]


@pytest.mark.parametrize("expression", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_expressions_are_refused_in_one_line(engine: Engine, expression: str) -> None:
    before = (engine.generation.directory / "meta.sqlite").read_bytes()
    with pytest.raises(InputError) as caught:
        matching(engine, expression)
    assert caught.value.exit_code == 3
    assert caught.value.message.startswith("--where")
    assert (engine.generation.directory / "meta.sqlite").read_bytes() == before


@pytest.mark.slow
def test_a_slow_expression_is_stopped(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "slow.sqlite")
    connection.execute("create table pictures (row_id integer, title text)")
    connection.executemany(
        "insert into pictures values (?, ?)", ((n, "a" * 4000) for n in range(30_000))
    )
    connection.execute("create view catalog as select row_id, title from pictures")
    connection.commit()
    slow = " or ".join(f"instr(title, 'b{n}')" for n in range(80))
    started = time.monotonic()
    with pytest.raises(InputError, match="took longer than 2 seconds"):
        matching_rows(connection, slow)
    assert time.monotonic() - started < 20
    connection.close()


def test_an_unknown_column_names_the_nearest(engine: Engine) -> None:
    with pytest.raises(InputError) as caught:
        matching(engine, "gener = 'animals'")
    assert str(caught.value) == "--where: there is no column 'gener'. Did you mean 'genre'?"


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        ("genre = and year = 2", "genre = ▸and◂ year = 2"),
        ("year = 1 and and year = 2", "year = 1 and ▸and◂ year = 2"),
        ("title == == 'x'", "title == ▸==◂ 'x'"),
    ],
)
def test_a_syntax_error_is_pointed_at(engine: Engine, expression: str, place: str) -> None:
    with pytest.raises(InputError, match="syntax error at character") as caught:
        matching(engine, expression)
    assert caught.value.message.endswith(place)


def test_an_expression_that_ends_early_says_so(engine: Engine) -> None:
    with pytest.raises(InputError, match="ends too early"):
        matching(engine, "year <")


def test_names_are_matched_without_accents_and_case(engine: Engine) -> None:
    meta = engine.generation.meta
    assert author_names(meta, ["ANNA LINEA"]) == ["Anna Línea"]
    assert folded("  Ænna\tLÍNEA ") == folded("ænna línea")
    assert len(title_ids(meta, ["book 00"])) == 1


def test_an_unknown_author_names_the_nearest(engine: Engine) -> None:
    with pytest.raises(InputError, match="Did you mean 'Anna Línea'"):
        author_names(engine.generation.meta, ["Ana Linea"])
    with pytest.raises(InputError, match="no title 'xyz'"):
        title_ids(engine.generation.meta, ["xyz"])


@pytest.mark.parametrize(
    ("filters", "keep"),
    [
        (Filters(year_from=2010), lambda r: r["year"] >= 2010),
        (Filters(year_to=2010, where="title like 'Book 0%'"),
         lambda r: r["year"] <= 2010 and r["title"][5] == "0"),
        (Filters(platforms=("folder",)), lambda r: r["platform"] == "folder"),
        (Filters(platforms=("x", "y")), lambda r: False),
        (Filters(platforms=("x", "FOLDER ")), lambda r: r["platform"] == "folder"),
        (Filters(genres=("animals",)), lambda r: False),
        (Filters(exclude_authors=("ANNA linea",)), lambda r: r["author"] != "Anna Línea"),
        (Filters(exclude_titles=("book 00",), exclude_authors=("Chung 정",)),
         lambda r: r["title"] != "Book 00" and r["author"] != "Chung 정"),
        (Filters(exclude_titles=("Book 00",), year_from=2005), lambda r: r["year"] >= 2005
         and r["title"] != "Book 00"),
        (Filters(pictures=()), lambda r: False),
    ],
)  # fmt: skip
def test_filters_equal_plain_python(dated: Settings, filters: Filters, keep: object) -> None:
    with Generation.open(dated.layout) as generation:
        cursor = generation.meta.execute("select * from catalog")
        names = [column[0] for column in cursor.description]
        everything = [dict(zip(names, values, strict=True)) for values in cursor]
        expected = sorted(r["row_id"] for r in everything if keep(r))  # type: ignore[operator]
        found = allowed(generation, filters)
        assert found is not None and found.tolist() == expected
        one = everything[0]
        found = allowed(generation, Filters(pictures=(one["picture_id"],)))
        assert found is not None and one["row_id"] in found.tolist()
        assert allowed(generation, Filters(min_percentile=99.0, exclude_same_author=True)) is None


def test_genres_and_platforms_that_are_not_there_are_told(engine: Engine) -> None:
    meta = engine.generation.meta
    wanted = Filters(platforms=("folder", "Folder", "foldr", "naver"), genres=("fantasy",))
    assert unknown_names(meta, wanted) == [
        "the index has no genre 'fantasy'",
        "the index has no platform 'foldr'. Did you mean 'folder'?",
        "the index has no platform 'naver'. It has 'folder'.",
    ]
    assert unknown_names(meta, NO_FILTERS) == []
    vector = engine.generation.vectors([int(engine.generation.row_ids[0])])[0]
    answer = engine.answer(StyleQuery(vector), QueryOptions(filters=wanted))
    assert answer.titles == () and "'foldr'" in " ".join(answer.notes)


def test_years_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(InputError, match="from 2010 to 2000"):
        Filters(year_from=2010, year_to=2000)
