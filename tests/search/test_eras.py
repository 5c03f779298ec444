"""Whoever turns years into eras does it as the index that is open does."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.export import export_catalog
from indexer.labels.judge import judge_pending
from indexer.nightly import index_stages, run_night
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import Generation, publish
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from search.cli.app import main
from search.engine import Engine, StyleQuery
from search.sql.sandbox import Sandbox
from search.sql.session import SqlSession

FIVE = {"2000-2004": 1, "2005-2009": 1, "2010-2014": 2, "2015-2019": 2}
TEN = {"2000s": 2, "2010s": 4}
ASKED = "select era, titles_count from eras order by era"


@pytest.fixture
def own(dated: Settings, tmp_path: Path) -> Settings:
    """A data root of one's own, with eras of five years."""
    shutil.copytree(dated.store.root, tmp_path / "root")
    return dataclasses.replace(
        dated, store=dataclasses.replace(dated.store, root=tmp_path / "root")
    )


def with_eras(settings: Settings, years: int) -> Settings:
    return dataclasses.replace(settings, index=dataclasses.replace(settings.index, era_years=years))


def rebuilt(settings: Settings, years: int) -> str:
    report = build_generation(settings.layout, with_eras(settings, years))
    assert report.generation_id is not None
    publish(settings.layout, report.generation_id)
    return report.generation_id


def told(capsys: pytest.CaptureFixture[str], settings: Settings, picture: Path) -> set[str]:
    """The eras that `toonsearch query` prints, on the screen and as JSON."""
    arguments = ["query", str(picture), "--data", str(settings.store.root)]
    assert main([*arguments, "--json"]) == 0
    labels = {one["label"] for one in json.loads(capsys.readouterr().out)["labels"]["eras"]}
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert any(label in printed for label in labels)
    return labels


def test_a_query_prints_eras_as_its_index_was_built(
    own: Settings,
    new_picture: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOONSEARCH_INDEX__ERA_YEARS", "20")  # what the next index will have
    labels = told(capsys, own, new_picture)
    assert labels and labels <= set(FIVE)
    where = ["--where", "era = '2005-2009'"]
    data = ["--data", str(own.store.root)]
    assert main(["query", str(new_picture), *where, "--json", *data]) == 0
    assert [hit["year"] for hit in json.loads(capsys.readouterr().out)["titles"]] == [2007]
    monkeypatch.setenv("TOONSEARCH_INDEX__ERA_YEARS", "10")
    assert main(["index", "build", "--json", *data]) == 0
    assert not json.loads(capsys.readouterr().out)["unchanged"]
    labels = told(capsys, own, new_picture)
    assert labels and labels <= set(TEN)
    assert main(["index", "build", "--json", *data]) == 0
    assert json.loads(capsys.readouterr().out)["unchanged"]


def test_every_label_of_an_answer_is_one_of_the_index(dated: Settings) -> None:
    with Engine.open(dated.layout, dated) as engine:
        rows = engine.generation.row_ids
        found = engine.predict(StyleQuery(engine.generation.vectors(rows[:1])[0]), 0.5)
        eras = dict(found.ranked(0, "era"))
        assert set(eras) == set(FIVE) == set(engine.model.labels["era"].names)
        assert sum(eras.values()) == pytest.approx(1.0)


def test_sql_has_the_eras_of_the_index(own: Settings, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    for years, wanted in ((5, FIVE), (10, TEN), (5, FIVE)):
        rebuilt(own, years)
        # Another setting is that of another index, to come.
        with SqlSession(own.layout, with_eras(own, 20)) as asked:
            result = asked.run(ASKED)
            assert result is not None and dict(result.rows()) == wanted
            result = asked.run("select era_of(2007), era_of(null)")
            assert result is not None
            assert list(result.rows()) == [("2005-2009" if years == 5 else "2000s", None)]
        with Sandbox(own.layout) as sandbox:
            assert dict(sandbox.run(ASKED).rows) == wanted
        export_catalog(own.layout, tmp_path / "out", force=True)
        table = pq.read_table(tmp_path / "out" / "eras.parquet")
        counts = zip(*(table[name].to_pylist() for name in ("era", "titles_count")), strict=True)
        assert dict(counts) == wanted


def test_without_an_index_eras_are_decades(own: Settings) -> None:
    shutil.rmtree(own.layout.index)
    with SqlSession(own.layout, own) as asked:
        result = asked.run(ASKED)
        assert result is not None and dict(result.rows()) == TEN


def test_predictions_in_other_eras_are_no_confusion(own: Settings) -> None:
    """After a rebuild, until everything is judged again."""

    def judged() -> Iterator[tuple[str, str | None]]:
        with SqlSession(own.layout, own) as asked:
            result = asked.run("select era, predicted_era from judged")
            assert result is not None
            yield from result.rows()  # type: ignore[misc]

    judge_pending(own.layout)
    eras = {era for pair in judged() for era in pair}
    assert set(FIVE) >= eras and None not in eras
    rebuilt(own, 10)
    assert {era for _, era in judged()} == {None}
    assert {era for era, _ in judged()} == set(TEN)
    judge_pending(own.layout)
    assert set(TEN) >= {era for _, era in judged()} and None not in {e for _, e in judged()}


def test_a_night_follows_the_setting(own: Settings) -> None:
    """It builds and judges as the next reader asks."""

    def night(settings: Settings) -> None:
        report = run_night(own.layout, index_stages(own.layout, settings, lambda *_: 0))
        assert report.before != report.after, report

    night(with_eras(own, 10))
    with Generation.open(own.layout) as generation:
        assert generation.calibration.era_years == 10
    rows = Catalog(own.layout).read("predictions").to_pylist()
    assert {one["label"] for row in rows for one in row["eras"]} <= set(TEN)
    with SqlSession(own.layout, own) as asked:
        assert asked.snapshot.era_years == 10
    night(own)  # five years, set back
    with SqlSession(own.layout, own) as asked:
        assert asked.snapshot.era_years == 5
