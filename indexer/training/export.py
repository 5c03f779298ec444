"""A model's files: named by their content, described, written whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer.embedding.encoder import INPUT_NAME, Encoder, without_telemetry
from indexer.embedding.in_grey import IN_GREY_FILE
from indexer.embedding.models import DESCRIPTION_FILE, FORMAT_VERSION, MODEL_FILE
from indexer.embedding.preprocess import PixelSpec
from indexer.embedding.restoration import RESTORATION_FILE
from indexer.labels.head_files import Heads, write_heads
from indexer.training.model import StatisticsNetwork, StyleNetwork
from indexer.training.onnx_graph import read_projection
from schemas.errors import InputError

MODEL_PREFIX = "style-lite0"
SHIPPED_SPEC = PixelSpec(
    480, 480, 32, filter="bicubic", trim=True, zoom=1.25, sharp_px=352, ease=0.2
)
"""A margin of a tenth on each side is cut off without a trace; a motif on an empty canvas becomes
a quarter larger at most, and what all pictures of books are magnified by is no blur. A picture
of half the size becomes 416 px long and not 480 (docs/model-card.md)."""
MIN_COSINE = 0.9999


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


@dataclass(frozen=True)
class Export:
    """A model ready to be written."""

    model_id: str
    network: bytes
    description: dict[str, Any]
    heads: Heads | None = None
    restoration: bytes | None = None
    in_grey: bytes | None = None


def describe(
    network: bytes,
    dimension: int,
    spec: PixelSpec,
    provenance: dict[str, Any],
    prefix: str = MODEL_PREFIX,
    restoration: bytes | None = None,
    in_grey: bytes | None = None,
) -> Export:
    """Name a network by its content, with what restores its vectors, and say what it is.

    What vectors become in grey is no part of the name: they are the same with it and without.
    """
    from blake3 import blake3

    def facts(data: bytes) -> dict[str, int | str]:
        return {"bytes": len(data), "blake3": blake3(data).hexdigest()}

    files = {MODEL_FILE: facts(network)}
    if restoration is not None:
        files[RESTORATION_FILE] = facts(restoration)
    digests = "".join(str(files[name]["blake3"]) for name in sorted(files))
    identity = blake3((digests + spec.digest).encode()).hexdigest()[:8]
    if in_grey is not None:
        files[IN_GREY_FILE] = facts(in_grey)
    model_id = f"{prefix}-{identity}"
    description = {
        "format_version": FORMAT_VERSION,
        "model_id": model_id,
        "dimension": dimension,
        "pixels": spec.to_json(),
        "files": files,
        "provenance": provenance,
    }
    return Export(model_id, network, description, None, restoration, in_grey)


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
            for file, data in (
                (RESTORATION_FILE, export.restoration), (IN_GREY_FILE, export.in_grey)
            ):  # fmt: skip
                if data is not None:
                    (aside / file).write_bytes(data)
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
