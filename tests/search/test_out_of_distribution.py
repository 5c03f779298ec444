"""Pictures of another kind than all of a catalog, though near to some of it."""

from __future__ import annotations

import io
import shutil
from collections import Counter
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
from indexer.labels.open_set import Usual
from indexer.labels.predict import LabelModel
from indexer.monitoring import coverage
from indexer.vector_index import build as building
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import Generation
from schemas.settings import Settings, load_settings
from search.engine import Engine, QueryOptions
from search.inputs import QueryPicture, read_picture
from search.predictions import predict_listed
from tests.drawings import drawing, washed
from tests.search.artists import HANDS, draw, draw_folder
from tests.search.indexes import encoded, published

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


def usual_of(settings: Settings) -> Usual | None:
    with Generation.open(settings.layout) as generation:
        return generation.calibration.usual_ood


@pytest.fixture(scope="module")
def engine(plates: Settings) -> Iterator[Engine]:
    with Engine.open(plates.layout, plates) as opened:
        yield opened


def test_an_index_knows_what_is_usual_in_it(engine: Engine, plates: Settings) -> None:
    files = sorted(plates.layout.pictures.rglob("*.png"))
    asked = [read_picture(str(file), plates.decode.limits) for file in files]
    prepared = [one.pixels(plates.decode.limits, engine.encoder.pixel_spec) for one in asked]
    ood = engine.encoder.encode(prepared).ood
    assert len(ood) == PLATES
    assert engine.calibration.usual_ood == pytest.approx(Usual.of_scores(ood), abs=1e-4)


def test_another_kind_is_by_nobody_however_near_it_lies(engine: Engine) -> None:
    """Asked with the vector of a plate, so that likeness cannot tell."""
    asked, other = engine.encode(encoded(plate(5))), engine.encode(encoded(drawing(3, 1, 300)))
    own = engine.answer(asked, QueryOptions()).labels
    told = engine.answer(asked._replace(ood=other.ood), QueryOptions()).labels
    assert own.out_of_distribution == 0.0 and own.unknown_author < 0.5
    assert engine.calibration.usual_ood is not None
    depth = engine.calibration.usual_ood.depth(np.log([other.ood]))[0]
    assert told.out_of_distribution == pytest.approx(np.tanh(depth)) and depth > 1
    assert told.conclusion == "other kind"
    known = (1 - own.unknown_author) * (1 - told.out_of_distribution)
    assert told.unknown_author == pytest.approx(1 - known)
    # Where the score is not known it says nothing.
    assert engine.answer(asked._replace(ood=float("nan")), QueryOptions()).labels == own


@pytest.mark.parametrize("seed", [101, 102])
def test_new_pictures_and_their_copies_are_of_its_kind(engine: Engine, seed: int) -> None:
    new = plate(seed)
    copies = {
        "grey": new.convert("L").convert("RGB"),
        "half": new.resize((140, 192), Image.Resampling.LANCZOS),
        "crop": new.crop((28, 38, 252, 346)),
        "mirrored": new.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    }
    usual = engine.calibration.usual_ood
    assert usual is not None
    for name, image in {"as it is": new, **copies}.items():
        ood = engine.encode(encoded(image)).ood
        assert usual.depth(np.log([ood]))[0] < 0.3, name
    assert engine.query(encoded(new), QueryOptions()).labels.conclusion != "other kind"


def of_other_kinds() -> list[Image.Image]:
    """Noise, and what a photograph out of focus is like."""
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (128, 160, 3), dtype=np.uint8))
    blurred = noise.crop((0, 0, 10, 8)).resize((320, 256), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (256, 320, 3))
    return [noise, Image.fromarray((np.asarray(blurred) + grain).clip(0, 255).astype(np.uint8))]


@pytest.mark.parametrize(("pictures_per_title", "has_range"), [(8, False), (12, True)])
def test_another_file_format_is_no_other_kind(
    pictures_per_title: int, has_range: bool, tmp_path: Path
) -> None:
    """Asked in JPEG of an index of PNG drawings by the same artists: 48, or 72."""
    draw_folder(tmp_path / "in", pictures_per_title)
    drawn = load_settings({"store.root": str(tmp_path / "data")}, environ={}, cwd=tmp_path)
    import_folder(drawn.layout, drawn, tmp_path / "in")
    embed_pending(drawn.layout, drawn)
    published(drawn)
    with Engine.open(drawn.layout, drawn) as engine:
        for artist in range(len(HANDS)):
            for seed in (900, 901, 902):
                data = io.BytesIO()
                draw(artist, seed).save(data, "JPEG", quality=75)
                new = [QueryPicture("new.jpg", data.getvalue())]
                assert engine.query(new, QueryOptions()).labels.conclusion != "other kind"
        shown = [
            engine.query(encoded(image), QueryOptions()).labels.conclusion == "other kind"
            for image in of_other_kinds()
        ]
        found = engine.calibration
    assert (found.usual_ood is not None) == (found.usual_nearest is not None) == has_range
    assert shown == [has_range, has_range]


def test_several_pictures_are_asked_together(engine: Engine) -> None:
    pictures = encoded(plate(5), drawing(3, 1, 300))
    alone = [engine.encode([picture]).ood for picture in pictures]
    assert engine.encode(pictures).ood == pytest.approx((alone[0] * alone[1]) ** 0.5)


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
    assert report.conclusions == Counter(labels.conclusion for labels in answers)
    assert report.conclusions["other kind"] == 1


def test_a_models_own_heads_know_their_kind_too(plates: Settings, tmp_path: Path) -> None:
    listed = []
    for name, image in {"plate": washed(7), "blocks": drawing(3, 1, 300)}.items():
        image.save(tmp_path / f"{name}.png")
        listed.append((name, tmp_path / f"{name}.png"))
    _, report = predict_listed(plates, listed, tmp_path / "p.parquet", model="shipped")
    plain, other = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert report.conclusions["other kind"] == 1
    assert other["unknown_author"] > 0.8
    model = LabelModel.read(shipped_model_dir())
    assert model.calibration.usual_ood is not None
    for kind, column in (("genre", "genres"), ("era", "eras")):
        labels = model.labels[kind]
        prior = {
            name: count / sum(labels.counts)
            for name, count in zip(labels.names, labels.counts, strict=True)
        }
        told, strange = (
            {one["label"]: one["probability"] for one in row[column]} for row in (plain, other)
        )
        assert strange == pytest.approx(prior, abs=0.05)
        assert max(abs(told[name] - prior[name]) for name in prior) > 0.06


def test_what_is_usual_is_carried_over_while_little_changes(
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


def test_an_index_of_an_older_release_is_stale_until_it_is_built_again(
    plates: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not coverage(plates.layout, plates).stale
    other = replace(plates, index=replace(plates.index, kind="ivf"))
    assert coverage(plates.layout, other).stale
    monkeypatch.setattr(building, "RECIPE", RECIPE + 1)  # as a later release has it
    assert coverage(plates.layout, plates).stale
    assert not build_generation(plates.layout, plates, dry_run=True).unchanged
