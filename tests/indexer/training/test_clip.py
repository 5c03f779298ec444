"""A tiny real model of open_clip: exported, tokenised and asked without open_clip or torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from indexer.embedding.clip import PICTURES, TEXTS, ClipModel, square
from indexer.embedding.embed import embed_pending
from indexer.embedding.models import CLIP_FILE, list_models
from indexer.training.clip import add_clip
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import Generation, publish
from schemas.errors import InputError, NoIndexError
from schemas.settings import Settings, load_settings
from search.engine import Engine, QueryOptions
from search.filters import Filters
from search.inputs import read_picture
from search.texts import query_by_text
from tests.small_model import ENVIRON

ROOT = Path(__file__).resolve().parents[3]
TINY, CONTEXT, SIDE_PX = "tiny-clip", 12, 32
TEXTS_ASKED = [
    "girl with umbrella, ink wash", "심청 그림", "It's  a “test” &amp; more!! 123 naïve", "a " * 40, "",
    "日本のマンガ ñ ĀB", "don't  STOP\n\tme", "emoji 😀 ok",
]  # fmt: skip


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of open_clip's own making, by a configuration beside those that it ships."""
    config = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": SIDE_PX, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16,
        },
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1,
        },
    }  # fmt: skip
    file = tmp_path_factory.mktemp("configs") / f"{TINY}.json"
    file.write_text(json.dumps(config))
    open_clip.add_model_config(file)
    torch.manual_seed(0)
    return open_clip.create_model(TINY, pretrained=None).eval()


@pytest.fixture(scope="module")
def folder(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("added")
    torch.save(network.state_dict(), root / "weights.pt")
    return add_clip(f"open_clip:{TINY}", root / "weights.pt", root / "models")


def test_texts_are_parted_and_encoded_as_open_clip_does(network: Any, folder: Path) -> None:
    model = ClipModel.open(folder)
    theirs = open_clip.SimpleTokenizer(context_length=CONTEXT)(TEXTS_ASKED)
    assert np.array_equal(np.stack([model.tokens(text) for text in TEXTS_ASKED]), theirs.numpy())
    with torch.no_grad():
        wanted = network.encode_text(theirs, normalize=True).numpy()
    found = np.stack([model.encode_text(text) for text in TEXTS_ASKED])
    assert np.allclose(found, wanted, atol=1e-4) and model.dimension == 16


@pytest.mark.parametrize("shape", [(480, 320, 3), (96, 480, 3), (33, 57, 3)])
def test_pictures_are_encoded_as_open_clip_does(
    network: Any, folder: Path, shape: tuple[int, ...]
) -> None:
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    colours = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    prepared = open_clip.image_transform(SIDE_PX, is_train=False, **colours)(
        Image.fromarray(pixels)
    )
    with torch.no_grad():
        [wanted] = network.encode_image(prepared[None], normalize=True).numpy()
    assert square(pixels, SIDE_PX).shape == (SIDE_PX, SIDE_PX, 3)
    assert float(ClipModel.open(folder).encode_picture(pixels) @ wanted) > 0.9999


def test_neither_torch_nor_open_clip_is_needed_to_ask(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from indexer.embedding.clip import ClipModel;"
        f"ClipModel.open(Path({str(folder)!r})).encode_text('a cat');"
        "sys.exit(bool({'torch', 'open_clip'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", [PICTURES, TEXTS])
def test_a_damaged_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    (copied / name).write_bytes(b"?" + (copied / name).read_bytes()[1:])
    model = ClipModel.open(copied)
    with pytest.raises(NoIndexError, match=name):
        if name == PICTURES:
            model.encode_picture(np.zeros((32, 32, 3), np.uint8))
        else:
            model.encode_text("a")
    body = json.loads((copied / CLIP_FILE).read_text())
    (copied / CLIP_FILE).write_text(json.dumps({**body, "side_px": 10**9}))
    with pytest.raises(NoIndexError, match="out of range"):
        ClipModel.open(copied)


def test_weights_that_do_not_fit_are_told_in_one_line(
    network: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"visual.x": torch.zeros(2)}, tmp_path / "other.pt")
    for name, weights, said in (
        ("open_clip:ViT-B-99", "other.pt", "unknown open_clip network"),
        ("RN50", "other.pt", "unknown open_clip network"),
        ("open_clip:ViT-B-16-SigLIP", "other.pt", "tokenizer of its own"),
        ("open_clip:ViT-B-32", "missing.pt", "no weights at"),
        (
            f"open_clip:{TINY}",
            "other.pt",
            r"the weights do not fit .* \(they lack .* and .* more\)",
        ),
    ):
        with pytest.raises(InputError, match=said) as caught:
            add_clip(name, tmp_path / weights, tmp_path / "models")
        assert "\n" not in caught.value.message
        assert name != "RN50" or caught.value.hint == "Did you mean 'open_clip:RN50'?"
    assert not (tmp_path / "models").exists()
    assert not [one for one in caplog.records if "randomly" in one.message]  # it is not so


@pytest.fixture(scope="module")
def asked(small_root: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The small index with subject vectors of the tiny model."""
    root = tmp_path_factory.mktemp("clip")
    shutil.copytree(small_root / "data", root / "data")
    shutil.copytree(folder, root / "data" / "models" / folder.name)
    flags = {"store.root": str(root / "data"), "encoder.subject": folder.name}
    settings = load_settings(flags, environ=ENVIRON, cwd=root)
    report = embed_pending(settings.layout, settings)
    assert (
        report.counts["completed"]
        == report.counts.get("completed")
        > 0
        == report.counts["embedded"]
    )
    built = build_generation(settings.layout, settings)
    assert built.generation_id is not None and not built.unchanged
    publish(settings.layout, built.generation_id)
    return settings


def test_subjects_come_from_it_and_words_find_pictures(
    asked: Settings, folder: Path, small_root: Path
) -> None:
    model = ClipModel.open(folder)
    with Engine.open(asked.layout, asked) as engine:
        generation = engine.generation
        assert generation.clip_id == folder.name and generation.subjects is not None
        vector = model.encode_text("a cat with umbrella")
        near = generation.subjects.cosines(vector, generation.row_ids)
        answer = query_by_text(generation, "a cat with umbrella", k=5, by="picture")
        assert [hit.similarity for hit in answer.pictures] == pytest.approx(
            np.sort(near)[::-1][:5], abs=2e-3
        )
        assert "what pictures show" in answer.notes[-1]
        assert query_by_text(generation, "hand 2", k=1, by="title").titles[0].authors == ("hand 2",)

        picture = read_picture(str(next((small_root / "drawings").rglob("*.png"))), engine.limits)
        plain = engine.query([picture], QueryOptions(k=3, by="picture"))
        assert plain.pictures[0].picture_id == picture.picture_id and plain.subject == 0.0
        same = engine.query([picture], QueryOptions(k=3, by="picture", subject=1.0))
        assert same.pictures[0].picture_id == picture.picture_id
        mixed = QueryOptions(k=3, by="picture", filters=Filters(text="a cat with umbrella"))
        both = engine.query([picture], mixed)
        assert both.subject == 0.5 and both.candidates_count == generation.pictures_count
        named = replace(mixed, filters=Filters(text="hand 1"))
        assert engine.query([picture], named).candidates_count < generation.pictures_count


def test_a_model_that_is_gone_is_missed_only_where_it_is_needed(
    asked: Settings, folder: Path, small_root: Path
) -> None:
    away = asked.layout.models / folder.name
    assert all(info.state == "ok" for info in list_models(asked.layout))
    away.rename(away.with_name("away"))
    try:
        picture = next((small_root / "drawings").rglob("*.png"))
        with Engine.open(asked.layout, asked) as engine:
            read = read_picture(str(picture), engine.limits)
            assert engine.query([read], QueryOptions(k=1)).titles
            with pytest.raises(NoIndexError, match=CLIP_FILE):
                engine.query([read], QueryOptions(k=1, subject=0.5))
        with pytest.raises(InputError, match="no CLIP model"):
            embed_pending(asked.layout, asked)
        with Generation.open(asked.layout) as generation:
            assert query_by_text(generation, "hand 2", k=1, by="title").titles
    finally:
        away.with_name("away").rename(away)
