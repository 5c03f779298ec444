"""What tests of training share: a folder of small drawings and a backbone of two layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.drawings import drawing

if TYPE_CHECKING:
    from indexer.training.data import Benchmark

AUTHORS, SERIES, PICTURES = 8, 2, 3


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `manifest.csv`, one split of its authors, and two authors to report on."""
    root = tmp_path_factory.mktemp("drawings")
    lines = ["path,author,series,genre,year"]
    for author in range(AUTHORS):
        for series in range(SERIES):
            for number in range(PICTURES):
                name = f"{author}-{series}-{number}.png"
                image = drawing(author % 4, 1000 * author + 10 * series + number, 96)
                image.save(root / name)
                genre = ("myth", "legend;epic")[author % 2]
                lines.append(
                    f"{name},artist {author},{author}-{series},{genre},{1880 + 5 * author}"
                )
    drawing(0, 9, 96).save(root / "stray.png")
    drawing(1, 9, 96).save(root / "once.png")
    lines += ["stray.png,,,,", "once.png,seen once,x,epic,"]
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    names = [f"artist {author}" for author in range(AUTHORS)]
    (root / "splits.json").write_text(json.dumps([{"train": names[:4], "test": names[4:]}]))
    (root / "report.json").write_text(json.dumps(names[4:]))
    return root


@pytest.fixture(scope="session")
def bench(drawings: Path) -> Benchmark:
    """The drawings as they are trained on."""
    from indexer.training.data import benchmark_of_manifest

    return benchmark_of_manifest(drawings / "manifest.csv", training=True)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models of open_clip, `tiny-rn` and `tiny-vit`, and files of random weights for them."""
    open_clip = pytest.importorskip("open_clip", reason="training needs open_clip")
    import torch
    from safetensors.torch import save_file

    root = tmp_path_factory.mktemp("open_clip")
    towers = {
        "rn": {"layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "vit": {"layers": 4, "width": 32, "head_width": 16, "patch_size": 14},
    }
    text = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
    for kind, tower in towers.items():
        body = {"embed_dim": 16, "vision_cfg": {"image_size": 64, **tower}, "text_cfg": text}
        (root / f"tiny-{kind}.json").write_text(json.dumps(body))
    open_clip.add_model_config(root)
    found = {}
    for kind in towers:
        torch.manual_seed(3)
        found[kind] = root / f"{kind}.safetensors"
        save_file(open_clip.create_model(f"tiny-{kind}").state_dict(), found[kind])
    return found


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A backbone of two layers and pictures of 96 px wherever the shipped ones are used."""
    from indexer.embedding.preprocess import PixelSpec
    from indexer.training import export, features, runs, trainer
    from tests.indexer.training.tiny import eager, tiny_statistics

    monkeypatch.setattr(features, "load_statistics", lambda *_: tiny_statistics())
    for module in (features, export, runs, trainer):
        monkeypatch.setattr(module, "SHIPPED_SPEC", PixelSpec(96, 0, 32))
    # Exports take seconds; those of models are left as they are.
    monkeypatch.setattr(features, "export_graph", lambda network: network)
    monkeypatch.setattr(features, "run_graph", lambda network, threads: eager(network))
    monkeypatch.setattr(runs, "export_graph", lambda network: b"")
    return tiny_statistics()
