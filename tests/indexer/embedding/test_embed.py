"""Embedding against real picture files: incremental, accounted for, and never stopped by one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from crawler.importers.folder import import_folder
from indexer.embedding import embed
from indexer.embedding.embed import embed_listed, embed_pending, model_dir_of, open_encoder
from indexer.embedding.encoder import Encoded
from indexer.embedding.preprocess import picture_to_pixels
from indexer.monitoring import coverage
from schemas.errors import InputError
from schemas.images import PictureError, Reason
from schemas.settings import EncoderSettings, Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from tests.drawings import drawing

SETTINGS = Settings()


def draw(path: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (int(rng.integers(80, 200)), int(rng.integers(80, 200))), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        pen.line([tuple(p) for p in rng.integers(0, 200, (3, 2)).tolist()], fill="black", width=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    for n in range(12):
        draw(tmp_path / f"pictures/author {n % 3}/title {n % 4}/{n}.png", n)
    layout = Layout(tmp_path / "root")
    import_folder(layout, SETTINGS, tmp_path / "pictures")
    return layout


def vectors(layout: Layout) -> dict[str, np.ndarray]:
    table = Catalog(layout).read("vectors")
    return {row["picture_id"]: np.asarray(row["vector"], np.float32) for row in table.to_pylist()}


def test_vectors_are_those_of_the_one_preprocessing_path(layout: Layout) -> None:
    report = embed_pending(layout, SETTINGS)
    assert report.counts == {"already": 0, "embedded": 12, "skipped": 0, "failed": 0}
    encoder = open_encoder(SETTINGS)
    stored = vectors(layout)
    table = Catalog(layout).read("vectors")
    scores = dict(zip(table["picture_id"].to_pylist(), table["ood"].to_pylist(), strict=True))
    for row in Catalog(layout).read("pictures").to_pylist():
        data = layout.picture(row["file"]).read_bytes()
        pixels = picture_to_pixels(data, SETTINGS.decode.limits, encoder.pixel_spec)
        alone = encoder.encode([pixels])
        assert float(alone.vectors[0] @ stored[row["picture_id"]]) > 0.9999
        assert scores[row["picture_id"]] == pytest.approx(alone.ood[0], rel=1e-5)


def test_a_second_run_embeds_nothing_and_a_new_picture_only_itself(layout: Layout) -> None:
    embed_pending(layout, SETTINGS)
    version = Catalog(layout).version("vectors")
    assert embed_pending(layout, SETTINGS).counts["already"] == 12
    assert Catalog(layout).version("vectors") == version
    folder = layout.root.parent / "pictures"
    draw(folder / "author 9/title 9/new.png", 99)
    import_folder(layout, SETTINGS, folder)
    assert embed_pending(layout, SETTINGS, dry_run=True).counts == {"already": 12, "pending": 1}
    assert embed_pending(layout, SETTINGS).counts["embedded"] == 1


def test_limits_and_progress(layout: Layout) -> None:
    seen: list[tuple[int, int]] = []
    report = embed_pending(layout, SETTINGS, limit=5, progress=lambda *step: seen.append(step))
    assert report.counts["embedded"] == 5
    assert seen == [(n, 5) for n in range(1, 6)]
    assert embed_pending(layout, SETTINGS).counts["embedded"] == 7


def test_a_damaged_store_is_a_row_with_a_reason_and_is_retried(layout: Layout) -> None:
    rows = Catalog(layout).read("pictures").to_pylist()
    gone, changed = (layout.picture(row["file"]) for row in rows[:2])
    kept = gone.read_bytes()
    gone.unlink()
    changed.write_bytes(changed.read_bytes()[:-1])
    report = embed_pending(layout, SETTINGS)
    assert (report.counts["embedded"], report.counts["failed"]) == (10, 2)
    covered = coverage(layout, SETTINGS)
    assert covered.failed == {"store": 2}
    assert covered.adds_up
    gone.write_bytes(kept)
    assert embed_pending(layout, SETTINGS).counts["embedded"] == 0
    report = embed_pending(layout, SETTINGS, retry_failed=True)
    assert (report.counts["embedded"], report.counts["failed"]) == (1, 1)
    covered = coverage(layout, SETTINGS)
    assert (covered.embedded, covered.failed) == (11, {"store": 1})


def test_ctrl_c_keeps_what_was_computed(layout: Layout) -> None:
    settings = Settings(encoder=EncoderSettings(batch=4))

    def stop(done: int, _total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_pending(layout, settings, progress=stop)
    assert len(vectors(layout)) == 8
    assert embed_pending(layout, settings).counts["embedded"] == 4


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    settings = Settings(encoder=EncoderSettings(model=str(tmp_path)))
    with pytest.raises(InputError, match=r"model\.json"):
        model_dir_of(settings)


def test_rows_keep_the_order_and_bad_pictures_stay_null(tmp_path: Path) -> None:
    for hand in range(4):
        drawing(hand, hand, 100 + 40 * hand).save(tmp_path / f"{hand}.png")
    (tmp_path / "text.png").write_text("no picture")
    names = ["2.png", "gone.png", "0.png", "text.png", "3.png", "1.png"]
    out = tmp_path / "vectors.parquet"
    report = embed_listed(SETTINGS, [(name, tmp_path / name) for name in names], out)
    assert report.counts == {"embedded": 4, "failed": 2}
    assert [problem.split(":")[0] for problem in report.problems] == ["gone.png", "text.png"]
    table = pq.read_table(out)
    assert table.column_names == ["path", "vector"]
    assert table["path"].to_pylist() == names
    encoder = open_encoder(SETTINGS)
    assert table.schema.metadata[b"model_id"].decode() == encoder.model_id
    for name, vector in zip(names, table["vector"].to_pylist(), strict=True):
        if name in ("gone.png", "text.png"):
            assert vector is None
            continue
        data = (tmp_path / name).read_bytes()
        pixels = picture_to_pixels(data, SETTINGS.decode.limits, encoder.pixel_spec)
        assert float(np.asarray(vector) @ encoder.encode([pixels]).vectors[0]) > 0.9999
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        embed_listed(SETTINGS, [], tmp_path / "nowhere" / "out.parquet")


def test_an_unforeseen_error_costs_one_picture_and_is_retried(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = embed.prepare, []

    def odd(*arguments: Any) -> np.ndarray:
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyError("MPO")
        return real(*arguments)

    monkeypatch.setattr(embed, "prepare", odd)
    report = embed_pending(layout, SETTINGS)
    assert (report.counts["embedded"], report.counts["failed"]) == (11, 1)
    covered = coverage(layout, SETTINGS)
    assert covered.failed == {"unexpected": 1} and covered.adds_up
    report = embed_pending(layout, SETTINGS, retry_failed=True)
    assert (report.counts["embedded"], report.counts["failed"]) == (1, 0)


def test_a_run_over_pictures_that_are_all_gone_can_end_before_the_last(layout: Layout) -> None:
    """Gathered to the end, the failures of a million pictures took gigabytes, and none was kept."""
    for file in layout.pictures.rglob("*.png"):
        file.unlink()
    settings = Settings(encoder=EncoderSettings(batch=4))
    report = embed_pending(layout, settings, is_over=lambda: True)
    assert (report.counts["failed"], report.counts["left"]) == (4, 8)
    states = [row["status"] for row in Catalog(layout).read("pictures").to_pylist()]
    assert (states.count("failed"), states.count("stored")) == (4, 8)
    assert embed_pending(layout, settings).counts["failed"] == 8


def test_what_the_network_cannot_take_costs_no_other_picture(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = open_encoder(SETTINGS)
    rng = np.random.default_rng(1)
    side = encoder.pixel_spec.multiple_px
    good, odd = rng.integers(0, 255, (side, side, 3), np.uint8), np.zeros((5, 5), np.uint8)
    first, refused, last = embed.encode_each(encoder, [good, odd, good])
    assert isinstance(refused, PictureError) and "prepared" in refused.message
    assert not isinstance(first, PictureError) and not isinstance(last, PictureError)
    assert np.array_equal(first[0], encoder.encode([good]).vectors[0])

    def no_numbers(pictures: Any) -> Encoded:
        return Encoded(np.full((len(pictures), 4), np.nan, np.float32), np.ones(len(pictures)))

    monkeypatch.setattr(encoder, "encode", no_numbers)
    (found,) = embed.encode_each(encoder, [good])
    assert isinstance(found, PictureError) and found.reason is Reason.UNEXPECTED


def test_a_network_that_takes_nothing_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = open_encoder(SETTINGS)

    def broken(pictures: Any) -> Encoded:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(encoder, "encode", broken)
    with pytest.raises(RuntimeError, match="no kernel"):
        embed.encode_each(encoder, [np.zeros((32, 32, 3), np.uint8)])


def test_rows_that_list_no_picture_are_noted(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    text = "path,author,date\n.\\a.png,Kim,soon\n,Lee,\nb.png,Han, x, y\n"
    (tmp_path / "m.csv").write_bytes(text.encode("utf-16"))
    notes: list[str] = []
    listed = embed.listed_pictures(tmp_path / "m.csv", notes.append)
    assert listed == [(".\\a.png", tmp_path / "a.png"), ("b.png", tmp_path / "b.png")]
    assert [note.split(":")[0] for note in notes] == ["row 3", "row 4"]


def test_odd_rows_of_a_manifest_are_problems_of_their_own(tmp_path: Path) -> None:
    drawing(1, 1, 80).save(tmp_path / "a.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(SETTINGS.decode.max_bytes + 1)
    names = ["folder.png", "pipe.png", "loop.png", "large.png", "nul\0.png", "x" * 400, "a.png"]
    listed = [(name, tmp_path / name) for name in names]
    report = embed_listed(SETTINGS, listed, tmp_path / "out.parquet")
    assert report.counts == {"embedded": 1, "failed": len(names) - 1}, report.problems
    assert [problem.split(": ")[0] for problem in report.problems] == names[:-1]
    assert [
        row is None for row in pq.read_table(tmp_path / "out.parquet")["vector"].to_pylist()
    ] == [True] * 6 + [False]
