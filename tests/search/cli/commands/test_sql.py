"""The command `sql`: formats, files, standard input, the prompt's words."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
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


ZONED = """
select now() as t, [to_timestamp(0)] as l, {'a': to_timestamp(0)} as s, map{'k': to_timestamp(0)} as m,
  union_value(u := to_timestamp(0)) as u, 1 as one, 2 as one, interval 14 month as i,
  '탑; --' as text /* ; */
; -- 끝
"""


@pytest.mark.parametrize("more", [(), ("--untrusted",)])
def test_times_with_zone_are_told_in_utc(  # type: ignore[no-untyped-def]
    sql, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TZ", "Asia/Seoul")
    epoch = "1970-01-01 00:00:00+00"
    code, told, said = sql(ZONED, "--json", *more)
    assert code == 0, said
    (row,) = json.loads(told)
    now = datetime.fromisoformat(row.pop("t"))
    assert abs((datetime.now(UTC) - now).total_seconds()) < 60
    assert row == {
        "l": [epoch], "s": {"a": epoch}, "m": {"k": epoch}, "u": epoch, "one": 1, "one_2": 2,
        "i": "1 year 2 months", "text": "탑; --",
    }  # fmt: skip
    assert f"{epoch},1\n" in sql("select to_timestamp(0) as t, 1 as n", "--csv", *more)[1]
    query = "select to_timestamp(n) as t from range($most::bigint) r(n) order by n desc"
    rows = json.loads(sql(query, "-p", "most=3", "--json", *more)[1])
    assert [row["t"][17:19] for row in rows] == ["02", "01", "00"]
    assert "1970" in sql("select timestamptz_ns '1970-01-01'", *more)[1]


def test_times_that_cannot_be_told_are_one_line(sql) -> None:  # type: ignore[no-untyped-def]
    text = "create temp table t as select now() as n; insert into t values (now()) returning n"
    code, told, said = sql(text)
    assert (code, told) == (3, "") and "Cast it to timestamp" in said


def test_each_statement_prints_its_rows(sql) -> None:  # type: ignore[no-untyped-def]
    text = "select 1 as a; create temp table t as select 2 as b; set threads = 2; from t; from t"
    assert sql(text)[1].split() == ["a", "1", "b", "2", "b", "2"]
    assert sql(text, "--csv")[1] == "a\n1\n\nb\n2\n\nb\n2\n"
    assert sql(text, "--nl")[1] == '{"a": 1}\n{"b": 2}\n{"b": 2}\n'
    many = "from range(30000); select 1 as a"
    assert sql(many, "--csv")[1].endswith("29999\n\na\n1\n")
    code, told, said = sql("select 1 as a; from nowhere", "--csv")
    assert (code, told) == (3, "a\n1\n") and "no view 'nowhere'" in said


NOT_FOR_PARQUET = (
    "interval 1 day", "[interval 1 day]", "{'a': {'b': interval 1 day}}", "map{'a': interval 1 day}",
    "map{interval 1 day: 1}", "union_value(a := 1)", "[union_value(a := 1)]",
    "{'a': union_value(a := 'x')}", "'101'::bit", "['101'::bit]", "1::bignum", "1::variant",
    "1::uhugeint", "timetz '10:00:00+02'", "{}",
)  # fmt: skip
FOR_PARQUET = (
    "sum(1)", "uuid()", "'a'::enum('a', 'BIT')", "{'BIT x': 1}", "map{'a': [1]}", "'ab'::blob",
    "null", "now()", "time '10:00:00'", "'{}'::json",
)  # fmt: skip


def test_what_parquet_cannot_hold_is_named(sql, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import pyarrow.parquet as pq

    out = tmp_path / "out.Parquet"
    for value in NOT_FOR_PARQUET:
        code, _, said = sql(f"select 1 as id, {value} as odd_column", "--out", str(out))
        assert code == 3 and "'odd_column'" in said and "Cast it" in said, value
        assert list(tmp_path.iterdir()) == []
    assert sql(f"select {', '.join(FOR_PARQUET)}", "--out", str(out))[0] == 0
    assert pq.read_table(out).num_rows == 1
    every = f"select {', '.join((*NOT_FOR_PARQUET, *FOR_PARQUET))}"
    for ending in ("csv", "json", "nl", "md", "txt"):
        for _ in range(2):  # the second replaces the first
            assert sql(every, "--out", str(tmp_path / f"out.{ending}"))[0] == 0


def test_a_statement_that_fails_halfway_leaves_no_file(sql, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    failing = "select if(n > 150000, error('boom'), n) as n from range(200000) r(n)"
    for ending in ("csv", "parquet"):
        code, _, said = sql(failing, "--out", str(tmp_path / f"out.{ending}"))
        assert code == 3 and "boom" in said
    assert list(tmp_path.iterdir()) == []


def test_an_input_is_never_the_output(sql, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    table, question, picture = (tmp_path / name for name in ("a'b.csv", "q.sql", "p.png"))
    table.write_text("n\n1\n")
    question.write_text("select 1\n")
    picture.write_bytes(b"\x89PNG\0")
    quoted = str(table).replace("'", "''")
    for arguments in (
        [f"from '{quoted}'", "--out", str(table)],
        [f'from "{table}"', "--out", str(table)],
        ["from read_csv($f)", "-p", f"f={table}", "--out", str(table)],
        [str(question), "--format", "csv", "--out", str(question)],
        ["-f", str(question), "--format", "csv", "--out", str(question)],
        ["select 1", "--format", "csv", "--out", str(picture)],
        ["select 1", "--untrusted", "--csv", "--out", str(picture)],
    ):
        code, _, said = sql(*arguments)
        assert code == 2 and ("an input" in said or "exists and is not" in said), arguments
    assert table.read_text() == "n\n1\n" and question.read_text() == "select 1\n"


def test_days_in_usual_spellings(sql) -> None:  # type: ignore[no-untyped-def]
    for day in (
        "2126-01-31",
        "21260131",
        "2099.12.01",
        "2099/12/1",
        "2099년 12월 1일",
        "1 Dec 2099",
    ):
        assert json.loads(sql("select 1 as n", "--json", "--as-of", day)[1]) == [{"n": 1}], day


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
        (["select 1", "--as-of", "2024.12.01 18:30"], 2),
        (["set threads = 2", "--out", "x.csv"], 3),
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
