"""SQL as the operator: parameters, similarity, one state, mistakes explained."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indexer.labels.judge import judge_pending
from indexer.palette import color_pending
from schemas.errors import InputError, NoIndexError, UsageError
from schemas.records import Title
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog, rows_of
from schemas.storage.snapshot import ready_views
from search.sql.session import Result, SqlSession, moment_of
from tests.small_model import ENVIRON


@pytest.fixture(scope="module")
def full(settings: Settings) -> Settings:
    """The small index with colours and predictions."""
    color_pending(settings.layout, settings)
    judge_pending(settings.layout)
    return settings


@pytest.fixture
def session(full: Settings) -> Iterator[SqlSession]:
    with SqlSession(full.layout, full) as made:
        yield made


def rows(result: Result | None) -> list[tuple[object, ...]]:
    assert result is not None
    return list(result.rows())


def test_views_agree_with_plain_python(session: SqlSession, full: Settings) -> None:
    titles = {row["title_id"]: row for row in Catalog(full.layout).read("titles").to_pylist()}
    counts: dict[str, set[str]] = {}
    pictures: dict[str, int] = {}
    for row in Catalog(full.layout).read("pictures").to_pylist():
        author = titles[row["title_id"]]["authors"][0]["name"]
        counts.setdefault(author, set()).add(row["title_id"])
        pictures[author] = pictures.get(author, 0) + 1
    found = rows(session.run("select author, titles_count, pictures_count from authors"))
    assert sorted(found) == sorted((a, len(counts[a]), pictures[a]) for a in counts)


def test_every_ready_view_answers(session: SqlSession) -> None:
    for name in ready_views():
        result = session.run(f"from {name}")
        assert result is not None
        list(result.rows())
    palette = rows(session.run("select sum(share) from title_palette group by title_id"))
    assert all(0.5 < total[0] <= 1.0 + 1e-9 for total in palette)  # type: ignore[operator]


def test_parameters_are_values_not_text(session: SqlSession) -> None:
    injected = "x' or 1=1 --"
    assert rows(session.run("select count(*) from titles where name = $n", {"n": injected})) == [
        (0,)
    ]
    assert rows(session.run("select 1 where 5 > $n", {"n": "4"})) == [(1,)]
    with pytest.raises(UsageError, match="no parameter \\$m"):
        session.run("select $n", {"n": "1", "m": "2"})


def test_similarity_agrees_with_the_query_command(
    session: SqlSession, full: Settings, new_picture: Path
) -> None:
    from search.engine import Engine, QueryOptions
    from search.inputs import QueryPicture

    with Engine.open(full.layout, full) as engine:
        answer = engine.query(
            [QueryPicture("new", new_picture.read_bytes())], QueryOptions(by="picture", k=5)
        )
    found = rows(
        session.run("select picture_id, similarity from similar($f, 5)", {"f": str(new_picture)})
    )
    assert [row[0] for row in found] == [hit.picture_id for hit in answer.pictures]
    assert found[0][1] == pytest.approx(answer.pictures[0].similarity, abs=1e-5)


def test_titles_like_a_title_are_by_the_same_author(session: SqlSession) -> None:
    found = rows(
        session.run(
            "select t.title_id, a.author, b.author from titles t join title_authors a using"
            " (title_id), similar_titles(t.title_id, 1) s join title_authors b"
            " on b.title_id = s.title_id"
        )
    )
    assert len(found) == 6
    assert sum(own == other for _, own, other in found) >= 4


def test_vectors_have_a_cosine_and_a_mean(session: SqlSession) -> None:
    assert rows(session.run("select cosine(vector, vector) from vectors limit 1"))[0][0] == (
        pytest.approx(1.0, abs=1e-5)
    )
    own = rows(
        session.run(
            "select cosine(v.vector, m.mean) from vectors v,"
            " (select mean_vector(list(vector)) as mean from vectors) m"
        )
    )
    assert all(0 < value[0] < 1 for value in own)  # type: ignore[operator]
    squares = session.run(
        "select list_sum(list_transform(mean_vector(list(vector)), lambda x: x * x)) from vectors"
    )
    assert rows(squares)[0][0] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("selct 1", "syntax error near 'selct' on line 1: \u25b8selct\u25c2"),
        ("select 1 +\nfrom", "line 2"),
        ("from titels", "Did you mean 'titles'"),
        ("select gener from catalog", "Did you mean 'genre'"),
        ("select c.gener from catalog c", "Did you mean 'genre'"),
        ("select cosin(1)", "no function 'cosin'"),
        ("select $a", "-p a=VALUE"),
        ("from similar('nowhere.png')", "nowhere.png does not exist"),
        ("from similar('x', 0)", "k is 0"),
        ("", "no statement"),
        ("select 1 / 'x'::int", "Could not convert"),
    ],
)
def test_mistakes_are_one_line_that_helps(session: SqlSession, sql: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        rows(session.run(sql))
    assert said in str(error.value)
    assert "\n" not in error.value.message


def test_one_state_while_others_write(tmp_path: Path) -> None:
    settings = load_settings({"store.root": str(tmp_path)}, environ=ENVIRON, cwd=tmp_path)
    catalog = Catalog(settings.layout)
    catalog.upsert("titles", rows_of([Title("a:1", "a", "One")]))
    with SqlSession(settings.layout, settings) as before:
        stop = threading.Event()

        def write() -> None:
            for number in range(2, 6):
                catalog.upsert("titles", rows_of([Title(f"a:{number}", "a", "More")]))
            stop.set()

        writer = threading.Thread(target=write)
        writer.start()
        counts = set()
        while not stop.is_set():
            counts |= set(rows(before.run("select count(*) from titles")))
        writer.join()
        assert counts == {(1,)}
    with SqlSession(settings.layout, settings) as after:
        assert rows(after.run("select count(*) from titles")) == [(5,)]
        with pytest.raises(NoIndexError):
            after.run("from similar_titles('a:1', 3)")


def test_a_date_is_its_end_and_a_moment_itself() -> None:
    assert moment_of("2026-11-20") > datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)
    assert moment_of("2026-11-20T10:00+02:00") == datetime(2026, 11, 20, 8, tzinfo=UTC)
    with pytest.raises(UsageError, match="not a date"):
        moment_of("yesterday")


def test_ctrl_c_stops_a_long_statement(full: Settings) -> None:
    long = "select sum(a.range * b.range) from range(10000000) a, range(1000000) b"
    program = [sys.executable, "-m", "search.cli.app", "--data", str(full.store.root), "sql", long]
    with subprocess.Popen(program, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            time.sleep(3.0)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert said.decode().strip() == "toonsearch: interrupted. What was done is kept."


def test_ctrl_c_stops_a_statement_that_notices_no_signal(full: Settings) -> None:
    """Inside a recursion DuckDB itself does not look for Ctrl-C."""
    long = "with recursive r as (select 1 as n union all select n + 1 from r) select max(n) from r"
    with SqlSession(full.layout, full) as session:
        threading.Timer(1.0, signal.raise_signal, (signal.SIGINT,)).start()
        with pytest.raises(KeyboardInterrupt):
            session.run(long)
        assert rows(session.run("select 1")) == [(1,)]
