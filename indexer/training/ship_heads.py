"""Gives a model folder heads for the labels of a folder of drawings.

`python -m indexer.training.ship_heads --model DIR --drawings DIR` is the last step of
`make model`: the shipped model then tells the illustrators that it knows without any index, and
its description names them, so that nobody measures it on those and believes the figure.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexer.embedding.models import (
    DESCRIPTION_FILE,
    MODEL_FILE,
    ModelDescription,
    verified_network,
)
from indexer.embedding.preprocess import prepare
from indexer.labels.head_files import Heads, write_heads
from indexer.training.cache import ArrayCache, default_cache
from indexer.training.data import MANIFEST_FILE, LabelRules, apply_rules, benchmark_of_manifest
from indexer.training.features import FeatureStore, pictures_of
from indexer.training.model_heads import fit_heads
from indexer.training.usual import knowing_their_kind, sampled
from schemas.errors import ToonsearchError
from schemas.storage.fsio import fsync_directory, replace_file, storage_error


def ship_heads(model: Path, drawings: Path, cache: Path | None = None) -> Heads:
    """Fit heads on all drawings and write them into the model's folder.

    Errors:  InputError when the drawings cannot be used, NoIndexError when the model cannot
    """
    description = ModelDescription.read(model)
    bench = benchmark_of_manifest(drawings / MANIFEST_FILE, training=True)
    vectors = FeatureStore(bench, ArrayCache(cache), model).get("vectors")
    heads = fit_heads(np.asarray(vectors, np.float32), apply_rules(bench, LabelRules()))
    network, spec = verified_network(model / MODEL_FILE, description), description.pixel_spec
    looked = pictures_of(bench.part(sampled(len(bench))), None, spec.decode_px)
    heads = knowing_their_kind(heads, network, (prepare(image, spec) for image in looked))
    about = json.loads((model / DESCRIPTION_FILE).read_bytes())
    about.setdefault("provenance", {})["authors"] = sorted(
        set(bench.manifest.authors.tolist()) - {""}
    )
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    try:
        write_heads(model, heads)
        replace_file(model / DESCRIPTION_FILE, text.encode())
        fsync_directory(model)
    except OSError as error:
        raise storage_error(error, str(model)) from error
    return heads


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m indexer.training.ship_heads")
    parser.add_argument("--model", type=Path, help="model folder (default: the shipped one)")
    parser.add_argument("--drawings", type=Path, required=True, help="folder with manifest.csv")
    options = parser.parse_args(arguments)
    try:
        if options.model is None:
            from indexer.embedding.models import shipped_model_dir

            options.model = shipped_model_dir()
        heads = ship_heads(options.model, options.drawings, default_cache())
        for kind, head in heads.heads.items():
            print(f"{kind}: {len(head.labels)} labels")
    except ToonsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
