"""Heads on disk: `heads.json` says what they are, `heads.safetensors` holds their numbers.

Neither can run code when it is read, and the numbers are proved to be those that the
description names before they are parsed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexer.labels.deviation import UsualDeviation
from indexer.labels.heads import TENSORS, Head, arrays_of
from indexer.labels.labels import KINDS, power_of
from schemas.errors import NoIndexError
from schemas.storage.fsio import write_file

HEADS_FILE = "heads.json"
TENSORS_FILE = "heads.safetensors"
FORMAT_VERSION = 1
MAX_BYTES = 1 << 30
HINT = "Build the index again, or train the model again."


@dataclass(frozen=True)
class HeadCalibration:
    """How a model's own heads are read without a catalog beside them.

    `power` is what each kind's likelihoods are raised to, and `sharpness` what the result is
    (`indexer.labels.knn.sharpened`), once it is known who is unknown. `unknown` are the weights
    of (intercept, likelihood ratio to a stranger, likelihood, greatest probability) in the
    log-odds that nobody known drew it, at equal prior odds. `usual_deviation` says how unlike what
    the model knows the pictures of its labels are (`indexer/labels/deviation.py`).
    """

    power: dict[str, float]
    unknown: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    measured: dict[str, float] = field(default_factory=dict)
    sharpness: dict[str, float] = field(default_factory=dict)
    usual_deviation: UsualDeviation | None = None


@dataclass(frozen=True)
class Heads:
    """The heads of a generation or a model; `calibration` only with a model."""

    heads: dict[str, Head]
    calibration: HeadCalibration | None = None


def write_heads(folder: Path, heads: Heads) -> list[Path]:
    """Write both files into a folder that the caller owns; returns them.

    Errors:  OSError
    """
    from blake3 import blake3
    from safetensors.numpy import save

    tensors = {
        f"{kind}.{name}": np.ascontiguousarray(value, np.float32)
        for kind, head in heads.heads.items()
        for name, value in arrays_of(head).items()
    }
    data = save(tensors)
    body = {
        "format_version": FORMAT_VERSION,
        "labels": {kind: list(head.labels) for kind, head in heads.heads.items()},
        "file": {"name": TENSORS_FILE, "bytes": len(data), "blake3": blake3(data).hexdigest()},
        "calibration": None if heads.calibration is None else asdict(heads.calibration),
    }
    text = json.dumps(body, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    write_file(folder / TENSORS_FILE, data)
    write_file(folder / HEADS_FILE, text.encode())
    return [folder / HEADS_FILE, folder / TENSORS_FILE]


def has_heads(folder: Path) -> bool:
    """Whether a generation or model folder carries heads."""
    return (folder / HEADS_FILE).is_file()


def read_heads(folder: Path) -> Heads:
    """Read and prove the heads of a folder.

    Errors:  NoIndexError when they are missing, damaged or of another format
    """
    from blake3 import blake3

    path = folder / HEADS_FILE
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
        if body["format_version"] != FORMAT_VERSION:
            raise NoIndexError(f"{path} has format {body['format_version']!r}", HINT)
        facts = body["file"]
        size = int(facts["bytes"])
        if not 0 < size <= MAX_BYTES:
            raise ValueError(f"a length of {size} bytes is impossible")
        with (folder / TENSORS_FILE).open("rb") as file:
            data = file.read(size + 1)
        if len(data) != size or blake3(data).hexdigest() != facts["blake3"]:
            raise NoIndexError(f"{folder / TENSORS_FILE} is damaged", HINT)
        labels = {kind: tuple(map(str, names)) for kind, names in body["labels"].items()}
        raw = body["calibration"]
        calibration = None if raw is None else _calibration(raw)
    except OSError as error:
        raise NoIndexError(f"{path}: {error.strerror or error}", HINT) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoIndexError(f"{path} is not a description of heads ({error})", HINT) from error
    return Heads(_heads(data, labels, path), calibration)


def _calibration(raw: Mapping[str, Any]) -> HeadCalibration:
    weights = tuple(float(weight) for weight in raw["unknown"])
    if len(weights) != 4:
        raise ValueError(f"{len(weights)} weights of the unknown author")
    return HeadCalibration(
        {str(kind): power_of(power) for kind, power in raw["power"].items()},
        weights,
        {str(name): float(value) for name, value in raw["measured"].items()},
        # Models of 0.1.0 have none.
        {str(kind): power_of(power) for kind, power in raw.get("sharpness", {}).items()},
        UsualDeviation.read(raw.get("usual_deviation") or ()),
    )


def _heads(data: bytes, labels: Mapping[str, tuple[str, ...]], path: Path) -> dict[str, Head]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    found: dict[str, Head] = {}
    try:
        tensors = load(data)
        for kind, names in labels.items():
            if kind not in KINDS:
                raise ValueError(f"unknown kind {kind!r}")
            head = Head(names, *(tensors[f"{kind}.{name}"] for name in TENSORS))
            rank = head.basis.shape[1]
            shapes = [(head.center.shape[0], rank), (len(names), rank), (len(names), rank)]
            sound = [head.basis.shape, head.square.shape, head.linear.shape] == shapes
            if not sound or head.constant.shape != (len(names),) or head.between.shape != (rank,):
                raise ValueError(f"the {kind} head has the wrong shape")
            found[kind] = head
    except (SafetensorError, ValueError, KeyError, IndexError) as error:
        raise NoIndexError(f"{path}: the heads cannot be used ({error})", HINT) from error
    return found
