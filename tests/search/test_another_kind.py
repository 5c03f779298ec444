"""Pictures that are drawn quite otherwise than all of a catalog, though near to some of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from crawler.importers.folder import import_folder
from indexer.embedding.embed import embed_pending
from indexer.embedding.models import shipped_model_dir
from indexer.labels.calibration import RECIPE
from indexer.labels.deviation import LEAST, UsualDeviation
from indexer.labels.head_files import read_heads
from indexer.labels.open_set import FOREIGN_ODDS
from indexer.labels.usual import SAMPLE, _sample, usual_deviation
from indexer.monitoring import coverage
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import Generation
from indexer.vector_index.rows import IndexRows, collect_rows
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from search.engine import Engine, QueryOptions
from search.inputs import read_picture
from search.predictions import head_distributions, predict_listed
from tests.drawings import drawing, washed
from tests.search.asking import encoded, published

PLATES = 72


def plate(seed: int) -> Image.Image:
    """By one of six painters, each with a palette."""
    glaze = [(230, 60, 40), (40, 80, 220), (30, 150, 60), (240, 200, 40), (90, 30, 90),
             (255, 255, 255)][seed % 6]  # fmt: skip
    return Image.blend(washed(seed), Image.new("RGB", (280, 384), glaze), 0.4)


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An index of coloured plates by six painters, three works each."""
    root = tmp_path_factory.mktemp("plates")
    for seed in range(PLATES):
        folder = root / "in" / f"Painter {seed % 6}" / f"Work {seed % 18}"
        folder.mkdir(parents=True, exist_ok=True)
        plate(seed).save(folder / f"{seed}.png")
    made = load_settings({"store.root": str(root / "data")}, environ={}, cwd=root)
    import_folder(made.layout, made, root / "in")
    embed_pending(made.layout, made)
    published(made)
    return made


def usual_of(settings: Settings) -> UsualDeviation | None:
    with Generation.open(settings.layout) as generation:
        return generation.calibration.usual_deviation


@pytest.fixture(scope="module")
def engine(plates: Settings) -> Iterator[Engine]:
    with Engine.open(plates.layout, plates) as opened:
        yield opened


def test_an_index_knows_what_is_usual_in_it(engine: Engine, plates: Settings) -> None:
    usual = engine.calibration.usual_deviation
    assert usual is not None
    files = sorted(plates.layout.pictures.rglob("*.png"))
    asked = [read_picture(str(file), plates.decode.limits) for file in files]
    prepared = [one.pixels(plates.decode.limits, engine.encoder.pixel_spec) for one in asked]
    found = engine.encoder.encode(prepared).ood
    assert len(found) == PLATES  # fewer than the sample: all of them
    assert usual == pytest.approx(UsualDeviation.of(found))


def test_another_kind_is_by_nobody_however_near_it_lies(engine: Engine) -> None:
    """Asked with the vector of a plate, so that likeness cannot tell."""
    asked = engine.question_of(encoded(plate(5)))
    other = engine.question_of(encoded(drawing(3, 1, 300)))
    assert asked.deviation is not None and other.deviation is not None
    own = engine.answer(asked, QueryOptions()).labels
    told = engine.answer(asked._replace(deviation=other.deviation), QueryOptions()).labels
    assert own.foreign == 0.0 and own.unknown_author < 0.5
    assert engine.calibration.usual_deviation is not None
    depth = engine.calibration.usual_deviation.depth(np.array([other.deviation]))[0]
    odds = [np.log(one.unknown_author / (1 - one.unknown_author)) for one in (own, told)]
    assert told.is_foreign and odds[1] == pytest.approx(odds[0] + FOREIGN_ODDS * depth)
    assert depth > 1
    # Whoever asks with a stored vector asks as before: nothing is known of it.
    assert engine.answer(asked._replace(deviation=None), QueryOptions()).labels == own


@pytest.mark.parametrize("seed", [101, 102])
def test_new_pictures_and_their_copies_are_of_its_kind(engine: Engine, seed: int) -> None:
    new = plate(seed)
    copies = {
        "grey": new.convert("L").convert("RGB"),
        "half": new.resize((140, 192), Image.Resampling.LANCZOS),
        "crop": new.crop((28, 38, 252, 346)),
        "mirrored": new.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    }
    usual = engine.calibration.usual_deviation
    assert usual is not None
    for name, image in {"as it is": new, **copies}.items():
        deviation = engine.question_of(encoded(image)).deviation
        assert deviation is not None and usual.depth(np.array([deviation]))[0] < 0.1, name
    assert not engine.query(encoded(new), QueryOptions()).labels.is_foreign


def test_several_pictures_are_asked_together(engine: Engine) -> None:
    pictures = encoded(plate(5), drawing(3, 1, 300))
    alone = [engine.question_of([picture]).deviation for picture in pictures]
    together = engine.question_of(pictures).deviation
    assert alone[0] is not None and alone[1] is not None
    assert together == pytest.approx((alone[0] * alone[1]) ** 0.5)


def test_a_list_of_pictures_is_told_the_same(
    engine: Engine, plates: Settings, tmp_path: Path
) -> None:
    listed, answers = [], []
    for name, image in {"own": plate(7), "other": drawing(3, 1, 300)}.items():
        image.save(tmp_path / f"{name}.png")
        listed.append((name, tmp_path / f"{name}.png"))
        picture = read_picture(str(listed[-1][1]), plates.decode.limits)
        prior = plates.query.unknown_prior
        answers.append(engine.query([picture], QueryOptions(unknown_prior=prior)).labels)
    _, report = predict_listed(plates, listed, tmp_path / "p.parquet")
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    for row, labels in zip(rows, answers, strict=True):
        assert row["unknown_author"] == pytest.approx(labels.unknown_author, abs=1e-4)
    assert report.foreign == sum(labels.is_foreign for labels in answers) == 1


def test_a_models_own_heads_know_their_kind_too(plates: Settings, tmp_path: Path) -> None:
    listed = []
    for name, image in {"plate": washed(7), "blocks": drawing(3, 1, 300)}.items():
        image.save(tmp_path / f"{name}.png")
        listed.append((name, tmp_path / f"{name}.png"))
    _, report = predict_listed(plates, listed, tmp_path / "p.parquet", model="shipped")
    plain, other = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert report.foreign == 1
    assert other["unknown_author"] > 0.8
    for kind in ("genres", "eras"):
        even = 1.0 / len(other[kind])
        assert max(label["probability"] for label in plain[kind]) > 2 * even
        assert max(label["probability"] for label in other[kind]) < 1.5 * even

    heads = read_heads(shipped_model_dir())
    assert heads.calibration is not None and heads.calibration.usual_deviation is not None
    vector = np.full(heads.heads["author"].center.shape, 0.05)
    told = [head_distributions(heads, vector, 0.5, deviation) for deviation in (None, 1.0, 3.0)]
    assert told[0] == told[1] and told[0].foreign == 0.0
    depth = heads.calibration.usual_deviation.depth(np.array([3.0]))[0]
    odds = [np.log(one.unknown_author / (1 - one.unknown_author)) for one in told]
    assert odds[2] == pytest.approx(odds[0] + FOREIGN_ODDS * depth)
    assert told[2].by_kind["author"] == told[0].by_kind["author"]
    older = replace(heads, calibration=replace(heads.calibration, usual_deviation=None))
    assert head_distributions(older, vector, 0.5, 3.0) == told[0]


def test_what_is_usual_is_kept_while_little_changes_and_asks_the_store_alone(
    plates: Settings, tmp_path: Path
) -> None:
    own = replace(plates, store=replace(plates.store, root=tmp_path / "data"))
    shutil.copytree(plates.store.root, own.store.root)
    before = usual_of(own)
    folder = tmp_path / "in" / "Painter 0" / "Work 0"
    folder.mkdir(parents=True)
    drawing(3, 1, 300).save(folder / "more.png")
    import_folder(own.layout, own, tmp_path / "in")
    embed_pending(own.layout, own)
    published(own)
    assert usual_of(own) == before is not None
    published(own, force=True)

    rows = collect_rows(Catalog(own.layout), *_model_of(own))
    assert len(rows.pictures) == PLATES + 1
    files = sorted(own.layout.pictures.rglob("*.png"))
    files[0].unlink()
    files[1].write_bytes(files[2].read_bytes())  # another picture under its name
    files[3].write_bytes(b"no picture")
    looked = usual_deviation(own.layout, own, rows)
    assert looked is not None and looked != before
    for file in files[4 : PLATES + 1 - LEAST + 4]:
        file.unlink()
    assert usual_deviation(own.layout, own, rows) is None


def _model_of(settings: Settings) -> tuple[str, str]:
    with Generation.open(settings.layout) as generation:
        return generation.model_id, generation.preprocessing_digest


def test_an_index_of_an_older_release_is_stale_until_it_is_built_again(
    plates: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not coverage(plates.layout, plates).stale
    monkeypatch.setattr("indexer.monitoring.RECIPE", RECIPE + 1)  # as a later release has it
    assert coverage(plates.layout, plates).stale
    monkeypatch.setattr("indexer.vector_index.build.RECIPE", RECIPE + 1)
    assert not build_generation(plates.layout, plates, dry_run=True).unchanged


def test_an_index_of_an_older_release_tells_labels_as_it_did(engine: Engine) -> None:
    question = engine.question_of(encoded(plate(5)))._replace(deviation=1.9)
    plain = engine.answer(question._replace(deviation=None), QueryOptions()).labels
    calibration = engine.calibration
    try:
        engine.calibration = replace(calibration, usual_deviation=None)
        assert engine.answer(question, QueryOptions()).labels == plain
    finally:
        engine.calibration = calibration
    assert engine.answer(question, QueryOptions()).labels != plain
    assert np.isfinite(plain.unknown_author)


def test_one_long_title_does_not_rule_what_is_usual() -> None:
    def row(title: str) -> dict[str, str]:
        return {"title_id": title}

    pictures = [row("long")] * 40_000 + [row(f"short {n}") for n in range(400)]
    rows = IndexRows(np.empty((0, 1)), np.arange(len(pictures)), pictures, {})
    chosen = _sample(rows, np.random.default_rng(1))
    assert len(set(chosen.tolist())) == SAMPLE
    assert (chosen >= 40_000).sum() > SAMPLE // 3  # of a hundredth of the pictures
    few = IndexRows(np.empty((0, 1)), np.arange(3), pictures[:3], {})
    assert _sample(few, np.random.default_rng(1)).tolist() == [0, 1, 2]
