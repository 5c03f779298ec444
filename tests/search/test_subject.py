"""Style or subject: a list by what is shown, with labels that stay those of the style."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from indexer.vector_index.generations import Generation
from indexer.vector_index.subjects import SUBJECTS
from schemas.errors import InputError
from schemas.settings import Settings
from search.cli.app import main
from search.engine import Engine, QueryOptions, StyleQuery
from search.inputs import QueryPicture
from tests.search.artists import draw


@pytest.fixture(scope="module")
def asked(engine: Engine) -> StyleQuery:
    data = io.BytesIO()
    draw(0, 5).save(data, "PNG")
    return engine.encode([QueryPicture("query.png", data.getvalue())])


def test_the_list_at_1_goes_by_the_subject_alone(engine: Engine, asked: StyleQuery) -> None:
    subjects = engine.generation.subjects
    assert subjects is not None and asked.subject is not None
    near = subjects.cosines(asked.subject, engine.generation.row_ids)
    meta = engine.generation.meta
    name_of = dict(meta.execute("select row_id, picture_id from pictures").fetchall())
    best = [name_of[row] for row in engine.generation.row_ids[np.argsort(-near)].tolist()]
    answer = engine.answer(asked, QueryOptions(k=15, by="picture", subject=1.0))
    assert [hit.picture_id for hit in answer.pictures] == best[:15]
    similarity = [hit.similarity for hit in answer.pictures]
    assert similarity == sorted(similarity, reverse=True)
    assert not any(hit.closeness or hit.expanded for hit in answer.pictures)


@pytest.mark.parametrize("by", ["title", "picture"])
def test_a_weight_near_0_gives_the_list_by_style(
    engine: Engine, asked: StyleQuery, by: str
) -> None:
    plain = QueryOptions(k=8, by=by, expand=False)
    alone, mixed = (engine.answer(asked, replace(plain, subject=s)) for s in (0.0, 1e-6))
    for one, other in zip(
        (*alone.titles, *alone.pictures), (*mixed.titles, *mixed.pictures), strict=True
    ):
        assert one.title_id == other.title_id
        assert one.similarity == pytest.approx(other.similarity, abs=1e-4)


def test_the_labels_are_those_of_the_style(engine: Engine, asked: StyleQuery) -> None:
    alone, mixed = (engine.answer(asked, QueryOptions(subject=s)) for s in (0.0, 0.7))
    assert alone.labels == mixed.labels and mixed.subject == 0.7
    assert any("labels are of the style alone" in note for note in mixed.notes)
    assert not any("subject" in note for note in alone.notes)


def test_what_is_not_known_is_said(engine: Engine, settings: Settings, asked: StyleQuery) -> None:
    with pytest.raises(InputError, match="only the style is known"):
        engine.answer(asked._replace(subject=None), QueryOptions(subject=0.5))
    with Generation.open(settings.layout) as generation:
        generation.manifest["files"].pop(SUBJECTS)
        other = Engine(generation, engine.encoder, engine.limits)
        with pytest.raises(InputError, match="holds no subject vectors"):
            other.answer(asked, QueryOptions(subject=0.5))
        assert other.answer(asked, QueryOptions()).titles


def test_a_query_by_style_does_not_read_subject_vectors(
    engine: Engine, asked: StyleQuery, settings: Settings
) -> None:
    with Generation.open(settings.layout) as generation:
        other = Engine(generation, engine.encoder, engine.limits)
        other.answer(asked, QueryOptions())
        assert "subjects" not in vars(generation)
        other.answer(asked, QueryOptions(subject=0.5))
        assert "subjects" in vars(generation)


@pytest.mark.parametrize("value", ["-0.1", "1.5", "half"])
def test_a_share_is_between_0_and_1(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "x.png", "--subject", value]) == 2
    assert "--subject" in capsys.readouterr().err


def test_colours_alone_have_no_subject(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "--palette", "navy", "--subject", "0.5"]) == 2
    assert "--subject needs a picture" in capsys.readouterr().err
