"""Grey copies of coloured plates, asked of an index through every door that asks it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crawler.importers.folder import import_folder
from indexer.embedding.embed import embed_pending
from indexer.embedding.in_grey import IN_GREY_FILE
from indexer.embedding.models import shipped_model_dir
from indexer.monitoring import coverage
from indexer.vector_index.build import build_generation
from indexer.vector_index.ranking import MANNER_WEIGHT, WEIGHTS
from indexer.vector_index.search import Question, similarities, widened
from schemas.settings import Settings, load_settings
from search.engine import Engine, QueryOptions
from search.inputs import QueryPicture
from search.sql.session import SqlSession
from tests.drawings import drawing, washed
from tests.search.asking import encoded, published

PLATES = 10
PICTURES = QueryOptions(k=PLATES, by="picture")


def grey(seed: int) -> Image.Image:
    return washed(seed).convert("L").convert("RGB")


@pytest.fixture(scope="module")
def older_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model as it was before it knew what vectors become in grey."""
    folder = tmp_path_factory.mktemp("older") / shipped_model_dir().name
    shutil.copytree(shipped_model_dir(), folder)
    about = json.loads((folder / "model.json").read_text())
    del about["files"][IN_GREY_FILE]
    (folder / "model.json").write_text(json.dumps(about))
    (folder / IN_GREY_FILE).unlink()
    return folder


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An index of coloured plates and drawings that never had colours, each a title."""
    root = tmp_path_factory.mktemp("plates")
    for seed in range(PLATES):
        folder = root / "in" / f"Painter {seed % 5}" / f"Plate {seed}"
        folder.mkdir(parents=True)
        washed(seed).save(folder / "plate.png")
    for seed in range(4):
        folder = root / "in" / "Penman" / f"Lines {seed}"
        folder.mkdir(parents=True)
        drawing(0, seed, 352).save(folder / "lines.png")
    made = load_settings({"store.root": str(root / "data")}, environ={}, cwd=root)
    import_folder(made.layout, made, root / "in")
    embed_pending(made.layout, made)
    published(made)
    return made


@pytest.fixture(scope="module")
def engine(plates: Settings) -> Iterator[Engine]:
    with Engine.open(plates.layout, plates) as opened:
        yield opened


def own_plate(engine: Engine, question: Question, seed: int) -> float:
    answer = engine.answer(question, replace(PICTURES, k=PLATES + 4))
    (found,) = [hit for hit in answer.pictures if hit.title_id.endswith(f"plate-{seed}")] or [
        hit for hit in answer.pictures if f"Plate {seed}" in str(hit.source_path)
    ]
    return found.similarity


def test_a_grey_copy_is_nearer_to_its_plate_than_it_was(engine: Engine) -> None:
    in_grey, as_before = [], []
    for seed in range(PLATES):
        question = engine.question_of(encoded(grey(seed)))
        assert question.in_grey is not None
        in_grey.append(own_plate(engine, question, seed))
        as_before.append(own_plate(engine, Question(question.vector), seed))
    assert (np.array(in_grey) >= np.array(as_before)).all()
    assert np.mean(in_grey) > np.mean(as_before) + 0.03


def test_who_has_any_colour_asks_as_ever(engine: Engine) -> None:
    coloured, plain = encoded(washed(1)), encoded(grey(1), grey(2))
    assert engine.question_of(coloured).in_grey is None
    assert engine.question_of([*coloured, *plain]).in_grey is None
    together = engine.question_of(plain)
    assert together.in_grey is not None
    assert np.linalg.norm(together.in_grey) == pytest.approx(1.0, abs=1e-5)
    alone = [engine.question_of([one]).in_grey for one in plain]
    mean = alone[0] + alone[1]
    assert together.in_grey == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_noise_of_a_camera_is_no_colour(engine: Engine) -> None:
    noise = np.random.default_rng(2).normal(0, 2, (384, 280, 3))
    noisy = np.clip(np.asarray(grey(6), float) + noise, 0, 255).astype(np.uint8)
    question = engine.question_of(encoded(Image.fromarray(noisy)))
    assert question.in_grey is not None
    faint = np.asarray(grey(6)).copy()
    faint[:200, :, 0] //= 2
    assert engine.question_of(encoded(Image.fromarray(faint))).in_grey is None


def test_it_asks_with_what_the_network_says_and_nothing_put_back(engine: Engine) -> None:
    (one,) = encoded(grey(8))
    question = engine.question_of([one])
    prepared = one.pixels(engine.limits, engine.encoder.pixel_spec)
    plain = engine.encoder.look([prepared]).plain[0]
    assert prepared.enlarged == 0.0  # else that is put back all the same
    assert question.in_grey == pytest.approx(plain, abs=1e-6)
    assert float(question.vector @ plain) < 0.999


def strange(engine: Engine) -> Question:
    """One whose two sides ask for different pictures, so that no side can be left out unseen."""
    one, other = (engine.question_of(encoded(grey(seed))) for seed in (1, 7))
    return Question(one.vector, other.in_grey)


def everything(engine: Engine) -> tuple[np.ndarray, list[str], list[str]]:
    rows = engine.generation.meta.execute(
        "select row_id, picture_id, title_id from pictures join titles using (title_no)"
    ).fetchall()
    ids, pictures, titles = zip(*rows, strict=True)
    return engine.generation.vectors(ids), list(pictures), list(titles)


def test_titles_are_scored_either_way_with_their_manner(engine: Engine) -> None:
    """Each title has one picture here: the least similar one stands for the two it lacks."""
    question, (vectors, _, titles) = strange(engine), everything(engine)
    near = similarities(engine.generation.in_grey, question, vectors)
    least = float(near.min())
    wanted = {
        title: (WEIGHTS[0] * one + (1 - WEIGHTS[0]) * least + MANNER_WEIGHT * one)
        / (1 + MANNER_WEIGHT)
        for title, one in zip(titles, near.tolist(), strict=True)
    }
    found = engine.answer(question, QueryOptions(k=len(titles))).titles
    assert {title.title_id: title.score for title in found} == pytest.approx(wanted, abs=2e-3)


def test_the_far_end_is_ordered_either_way(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a head of three of the fourteen pictures."""
    for module in ("indexer.vector_index.ranking", "search.long_lists", "search.notes"):
        monkeypatch.setattr(f"{module}.KEPT", 3, raising=False)
    question, (vectors, pictures, _) = strange(engine), everything(engine)
    in_grey = engine.generation.in_grey
    order = np.argsort(-similarities(in_grey, question, vectors))
    wider = widened(in_grey, question, vectors[order[:3]])
    far = similarities(in_grey, wider, vectors)
    wanted = [*order[:3], *sorted(order[3:].tolist(), key=lambda n: -far[n])]
    assert wanted != order.tolist()
    found = engine.answer(question, replace(PICTURES, k=len(pictures))).pictures
    assert [hit.picture_id for hit in found] == [pictures[n] for n in wanted]


def test_a_drawing_without_colours_finds_itself_as_ever(engine: Engine) -> None:
    answer = engine.query(encoded(drawing(0, 2, 352)), PICTURES)
    assert answer.pictures[0].similarity == pytest.approx(1.0, abs=2e-3)
    assert "lines" in str(answer.pictures[0].source_path)


def test_labels_are_told_as_they_are_calibrated(engine: Engine) -> None:
    for seed in range(3):
        question = engine.question_of(encoded(grey(seed)))
        answer = engine.answer(question, QueryOptions(k=5))
        before = engine.answer(Question(question.vector), QueryOptions(k=5))
        assert answer.labels == before.labels
        assert [t.score for t in answer.titles] != [t.score for t in before.titles]
        told = engine.distributions_of(question.vector, 0.5)
        assert told.unknown_author == pytest.approx(answer.labels.unknown_author)


def test_sql_finds_what_a_query_finds(plates: Settings, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "grey.png"
    grey(4).save(file)
    data = QueryPicture("grey.png", file.read_bytes())
    wanted = engine.query([data], PICTURES).pictures
    with SqlSession(plates.layout, plates) as session:
        found = session.run(
            f'select picture_id, similarity from "similar"($file, {PLATES}) order by rank',
            {"file": str(file)},
        )
        assert found is not None
        rows = list(found.rows())
    assert [row[0] for row in rows] == [hit.picture_id for hit in wanted]
    assert [row[1] for row in rows] == pytest.approx([hit.similarity for hit in wanted], abs=1e-5)


def test_an_index_of_before_answers_and_is_made_anew_without_embedding(
    plates: Settings, older_model: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    for part in ("tables", "pictures"):
        shutil.copytree(plates.store.root / part, root / part)
    now = replace(plates, store=replace(plates.store, root=root))
    before = replace(now, encoder=replace(now.encoder, model=str(older_model)))
    assert embed_pending(now.layout, before).counts["embedded"] == 0  # the vectors are the same
    first = published(before)
    with Engine.open(now.layout, before) as old:
        assert old.generation.in_grey is None
        question = old.question_of(encoded(grey(5)))
        plain = own_plate(old, Question(question.vector), 5)
        assert own_plate(old, question, 5) == plain
    assert not coverage(now.layout, before).stale
    assert coverage(now.layout, now).stale
    second = published(now)
    assert second != first and not coverage(now.layout, now).stale
    assert build_generation(now.layout, now).unchanged
    with Engine.open(now.layout, now) as new:
        assert new.generation.in_grey is not None
        assert own_plate(new, question, 5) > plain


def test_lengths_of_another_index_are_refused(plates: Settings, engine: Engine) -> None:
    from indexer.vector_index.grey_lengths import CatalogInGrey
    from indexer.vector_index.rows import collect_rows
    from indexer.vector_index.validation import check_index
    from schemas.storage.catalog import Catalog

    rows = collect_rows(
        Catalog(plates.layout), engine.generation.model_id, engine.generation.preprocessing_digest
    )
    right = engine.generation.in_grey
    assert right is not None
    for lengths, passes in ((right.lengths, True), (np.roll(right.lengths, 1), False)):
        order = np.argsort(rows.row_ids)
        among = CatalogInGrey(right.map, lengths, (rows.row_ids[order], order))
        (found,) = [
            check
            for check in check_index(
                engine.generation.index, rows, sample=50, seed=1, in_grey=among
            )
            if check.name == "in_grey"
        ]
        assert found.passed is passes
