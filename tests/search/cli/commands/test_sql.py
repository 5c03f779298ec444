"""The command `sql`: formats, files, standard input, the prompt's words."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from schemas.settings import Settings
from search.cli.app import main
from search.output.data import shown, unique


@pytest.fixture
def sql(settings: Settings, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["--data", str(settings.store.root), "sql", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_formats_hold_the_same_rows(sql, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import pyarrow.parquet as pq

    query = "select author, titles_count as n, [author, 'x'] as l from authors order by 1"
    expected = ["Anna Línea", "Bertil Block", "Chung 정"]
    assert [row["author"] for row in json.loads(sql(query, "--json")[1])] == expected
    lines = sql(query, "--nl")[1].splitlines()
    assert [json.loads(line)["author"] for line in lines] == expected
    rows = list(csv.DictReader(io.StringIO(sql(query, "--csv")[1])))
    assert [row["author"] for row in rows] == expected
    assert rows[0]["l"] == "Anna Línea; x"
    markdown = sql(query, "--markdown")[1].splitlines()
    assert markdown[1] == "| --- | ---: | --- |"
    assert "Bertil Block" in sql(query)[1]
    target = tmp_path / "rows.parquet"
    assert sql(query, "--out", str(target))[0] == 0
    assert pq.read_table(target)["author"].to_pylist() == expected
    assert json.loads(sql("select 1 where false", "--json")[1]) == []


def test_from_files_and_with_parameters(sql, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "question.sql"
    file.write_text("select count(*) as n from catalog where author = $who;")
    for arguments in ([str(file)], ["-f", str(file)]):
        assert json.loads(sql(*arguments, "-p", "who=Chung 정", "--json")[1]) == [{"n": 8}]
    assert sql("-f", str(tmp_path / "none.sql"))[0] == 3


def test_schema(sql) -> None:  # type: ignore[no-untyped-def]
    code, told, _ = sql("--schema")
    assert code == 0
    assert "genre_by_year: How much of each year" in told
    assert "similar_titles(title_id, k)" in told
    rows = json.loads(sql("--schema", "titles", "--json")[1])
    assert {
        "view": "titles",
        "column": "title_id",
        "type": "VARCHAR",
        "comment": "platform:id",
    } in (rows)
    assert "Did you mean 'titles'" in sql("--schema", "titels")[2]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["select 1", "--json", "--csv"], 2),
        (["select 1", "--out", "x.doc"], 2),
        (["select 1", "--format", "parquet"], 2),
        (["select 1", "--as-of", "yesterday"], 2),
        (["select 1", "--as-of", "1999-01-01"], 3),
        (["--untrusted", "--schema", "x"], 2),
        (["select 1", "-p", "a=1"], 2),
        (["select 1", "-p", "a"], 2),
        (["--untrusted", "copy titles to 'x'"], 3),
    ],
)
def test_mistakes(sql, arguments: list[str], code: int) -> None:  # type: ignore[no-untyped-def]
    found, told, said = sql(*arguments)
    assert (found, told) == (code, "")
    assert said.startswith("toonsearch: error: ")
    assert said.count("\n") == 1


def test_untrusted(sql) -> None:  # type: ignore[no-untyped-def]
    told = sql("select name from titles order by 1 limit 1", "--untrusted", "--json")[1]
    assert json.loads(told) == [{"name": "Book 00"}]


def test_words() -> None:
    assert unique(["a", "a", "b", "a"]) == ["a", "a_2", "b", "a_3"]
    assert shown([1.23456789, None, {"a": "b"}]) == "1.23457, -, a=b"
