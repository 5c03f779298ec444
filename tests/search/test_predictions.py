"""Predictions of listed pictures: complete, ordered, and those of a query."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from indexer.embedding.embed import open_encoder
from indexer.embedding.models import list_models, model_dir, shipped_model_dir
from indexer.labels.heads import LabelSet
from indexer.labels.predict import LabelModel, Prediction
from schemas.errors import InputError, NoIndexError
from schemas.records import CONCLUSIONS
from schemas.settings import EncoderSettings, Settings, StoreSettings
from search.engine import Engine, QueryOptions, StyleQuery
from search.inputs import read_picture
from search.predictions import FORMAT, Predictor, _write, predict_listed
from tests.search.artists import HANDS, draw

COLUMNS = ["path", "authors", "genres", "eras", "unknown_author", "conclusion", "problem"]


def test_every_label_gets_a_probability_and_all_of_it_adds_up(
    settings: Settings, new_picture: Path, tmp_path: Path
) -> None:
    draw(2, 55).save(tmp_path / "other.png")
    (tmp_path / "text.png").write_text("no picture")
    names = ["other.png", "gone.png", new_picture.name, "text.png"]
    out = tmp_path / "predictions.parquet"
    listed = [(name, tmp_path / name) for name in names]
    source, report = predict_listed(settings, listed, out)
    assert (report.counts["predicted"], report.counts["failed"]) == (2, 2)
    assert json.dumps(dataclasses.asdict(report))  # `--json` prints it
    table = pq.read_table(out)
    assert table.column_names == COLUMNS
    meta = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    assert meta["format"] == FORMAT and meta["source"] == source
    rows = table.to_pylist()
    told = [row["conclusion"] for row in rows if not row["problem"]]
    assert report.conclusions == Counter(told) and set(told) <= set(CONCLUSIONS)
    assert [row["path"] for row in rows] == names
    for row in rows:
        if row["problem"]:
            assert row["authors"] is row["genres"] is row["unknown_author"] is None
            continue
        shares = [entry["probability"] for entry in row["authors"]]
        assert {entry["label"] for entry in row["authors"]} == set(HANDS)
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) + row["unknown_author"] == pytest.approx(1)
        assert row["genres"] == [] and row["eras"] == []  # the folder has neither


def test_an_unforeseen_error_is_one_rows_problem(
    settings: Settings, new_picture: Path, tmp_path: Path
) -> None:
    draw(2, 55).save(tmp_path / "other.png")
    encoder, calls = open_encoder(settings), []

    def predict(query: StyleQuery) -> Prediction:
        calls.append(query)
        if len(calls) == 1:
            raise KeyError("label")
        return Prediction({}, {}, np.array([0.2]), np.array([0.1]))

    names = ["other.png", new_picture.name]
    listed = [(name, tmp_path / name) for name in names]
    out = tmp_path / "predictions.parquet"
    _, report = _write(Predictor(encoder, "none", predict), settings, listed, out, None)
    assert report.counts == {"predicted": 1, "failed": 1, "cut": 0}
    assert report.conclusions == {"": 1}
    first, second = pq.read_table(out).to_pylist()
    assert "KeyError" in first["problem"] and first["unknown_author"] is None
    assert second["problem"] is None and second["unknown_author"] == 0.2


def test_conclusions_are_counted(settings: Settings, new_picture: Path, tmp_path: Path) -> None:
    told = iter([(0.9, 0.8), (0.9, 0.1), (0.2, 0.0), (0.55, 0.0)])

    def predict(query: StyleQuery) -> Prediction:
        assert 0.2 < query.ood < 5.0
        assert query.vector.shape == (open_encoder(settings).dimension,)
        unknown, strange = next(told)
        labels = {"author": LabelSet(("a",), (1,))}
        return Prediction(
            labels, {"author": np.ones((1, 1))}, np.array([unknown]), np.array([strange])
        )

    listed = [("one", new_picture), ("gone", tmp_path / "gone"), ("two", new_picture),
              ("three", new_picture), ("four", new_picture)]  # fmt: skip
    asked = Predictor(open_encoder(settings), "hand-made", predict)
    _, report = _write(asked, settings, listed, tmp_path / "p.parquet", None)
    assert (report.counts["predicted"], report.counts["failed"]) == (4, 1)
    assert report.conclusions == dict.fromkeys(CONCLUSIONS, 1)


def test_a_query_and_a_prediction_say_the_same(
    engine: Engine, settings: Settings, new_picture: Path, tmp_path: Path
) -> None:
    picture = read_picture(str(new_picture), settings.decode.limits)
    prior = settings.query.unknown_prior
    answer = engine.query([picture], QueryOptions(unknown_prior=prior))
    out = tmp_path / "p.parquet"
    predict_listed(settings, [("new", new_picture)], out)
    row = pq.read_table(out).to_pylist()[0]
    told = {entry["label"]: entry["probability"] for entry in row["authors"]}
    assert row["unknown_author"] == pytest.approx(answer.labels.unknown_author, abs=1e-4)
    for author in answer.labels.authors:
        assert told[author.label] == pytest.approx(author.probability, abs=1e-3)


def test_a_models_own_heads_answer_when_they_are_asked(
    settings: Settings, engine: Engine, new_picture: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    mine = dataclasses.replace(settings, store=StoreSettings(root))
    trained = mine.layout.models / "trained-1"
    shutil.copytree(model_dir(mine.encoder.model, mine.layout), trained)
    out = tmp_path / "p.parquet"
    shutil.rmtree(trained / "labels", ignore_errors=True)
    with pytest.raises(NoIndexError, match="no label heads"):
        predict_listed(mine, [("new", new_picture)], out, model="trained-1")
    model = engine.model
    calibration = dataclasses.replace(
        model.calibration, weights=dict.fromkeys(model.calibration.weights, (0.5, 0.2, 0.0))
    )
    LabelModel(model.labels, model.heads, calibration).write(trained)
    source, report = predict_listed(mine, [("new", new_picture)], out, model="trained-1")
    assert source == "model trained-1" and report.counts["predicted"] == 1
    row = pq.read_table(out).to_pylist()[0]
    assert sum(e["probability"] for e in row["authors"]) + row["unknown_author"] == pytest.approx(1)
    assert {entry["label"] for entry in row["authors"]} == set(HANDS)
    with pytest.raises(NoIndexError, match="no index"):
        predict_listed(mine, [("new", new_picture)], out)


def test_models_are_found_by_name(settings: Settings, tmp_path: Path) -> None:
    layout = dataclasses.replace(settings, store=StoreSettings(tmp_path)).layout
    shipped = shipped_model_dir()
    assert model_dir("shipped", layout) == model_dir(shipped.name, layout) == shipped
    assert model_dir(str(shipped), layout) == shipped
    shutil.copytree(shipped, layout.models / "mine-1")
    (layout.models / "debris").mkdir()
    (layout.models / ".half-written").mkdir()
    assert model_dir("mine-1", layout) == layout.models / "mine-1"
    with pytest.raises(InputError, match="Did you mean 'mine-1'"):
        model_dir("mine-2", layout)
    with pytest.raises(InputError, match="no model"):
        model_dir("../secrets/x", layout)
    states = {info.name: info.state for info in list_models(layout)}
    assert states[shipped.name] == states["mine-1"] == "ok"
    assert "debris" in states and states["debris"] != "ok"
    assert EncoderSettings().model == "shipped"
