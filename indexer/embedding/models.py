"""A model's files: what it is, and the proof that each file is the one that it names.

A model is a folder with `model.json` (what it is, and the length and digest of its files) and
`model.onnx`; `restoration.safetensors` and `in_grey.safetensors` may lie beside them. A digest
is proved before anything parses a byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexer.embedding.in_grey import IN_GREY_FILE, InGrey
from indexer.embedding.preprocess import PixelSpec
from indexer.embedding.restoration import RESTORATION_FILE, Restoration
from indexer.labels.head_files import has_heads
from schemas.errors import InputError, NoIndexError, nearest
from schemas.storage.layout import Layout

FORMAT_VERSION = 2
READABLE = (1, 2)
"""Format 1 has no restoration (`indexer/embedding/restoration.py`)."""
MODEL_FILE = "model.onnx"
DESCRIPTION_FILE = "model.json"

MAX_MODEL_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class ModelDescription:
    """What `model.json` says."""

    model_id: str
    dimension: int
    pixel_spec: PixelSpec
    network: tuple[int, str]
    """Length in bytes and BLAKE3 of the network's file."""
    others: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """The same of the files beside it, by name."""

    @classmethod
    def read(cls, model_dir: Path) -> ModelDescription:
        """Read and check a model's description.

        Errors:  NoIndexError when it is missing, damaged or of another format
        """
        path = model_dir / DESCRIPTION_FILE
        try:
            value: Any = json.loads(path.read_bytes())
            if value["format_version"] not in READABLE:
                raise NoIndexError(
                    f"{path} has format {value['format_version']}, this release reads"
                    f" {READABLE[0]} to {READABLE[-1]}"
                )
            files = {
                str(name): (int(file["bytes"]), str(file["blake3"]))
                for name, file in value["files"].items()
            }
            return cls(
                model_id=str(value["model_id"]),
                dimension=int(value["dimension"]),
                pixel_spec=PixelSpec.from_json(value["pixels"]),
                network=files.pop(MODEL_FILE),
                others=files,
            )
        except OSError as error:
            raise NoIndexError(
                f"no model in {model_dir} ({error.strerror or error})", "Reinstall toonsearch."
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            raise NoIndexError(f"{path} is not a model description ({error})") from error


def shipped_model_dir() -> Path:
    """The folder of the model that comes with this release.

    Errors:  NoIndexError unless exactly one is there
    """
    root = Path(__file__).parent.parent / "models"
    found = sorted(path.parent for path in root.glob(f"*/{DESCRIPTION_FILE}"))
    if len(found) != 1:
        raise NoIndexError(
            f"{len(found)} models are shipped in {root}, one is expected", "Reinstall toonsearch."
        )
    return found[0]


def verified_network(path: Path, description: ModelDescription) -> bytes:
    """The network's bytes, proved to be those that the description names.

    Errors:  NoIndexError when they are missing, cut or changed
    """
    data = _verified(path, *description.network)
    # A tensor kept outside the graph names its file under this key: such a model could make
    # the runtime open any path. Our exports carry everything and never use the word.
    if b"location" in data:
        raise NoIndexError(f"{path} refers to other files", "Export the model in one file.")
    return data


def read_restoration(model_dir: Path, description: ModelDescription) -> Restoration | None:
    """What the model puts back into vectors of enlarged and grey pictures; None without.

    Errors:  NoIndexError when the file is missing, cut or changed
    """
    data = verified_file(model_dir, RESTORATION_FILE, description)
    path = model_dir / RESTORATION_FILE
    return None if data is None else Restoration.from_bytes(data, description.dimension, path)


def read_in_grey(model_dir: Path, description: ModelDescription) -> InGrey | None:
    """What the model's vectors become without colours; None without.

    Errors:  NoIndexError when the file is missing, cut or changed
    """
    data = verified_file(model_dir, IN_GREY_FILE, description)
    path = model_dir / IN_GREY_FILE
    return None if data is None else InGrey.from_bytes(data, description.dimension, path)


def verified_file(model_dir: Path, name: str, description: ModelDescription) -> bytes | None:
    """The bytes of a file beside the network, proved to be those that the description names;
    None where it names none.

    Errors:  NoIndexError when they are missing, cut or changed
    """
    facts = description.others.get(name)
    return None if facts is None else _verified(model_dir / name, *facts)


def _verified(path: Path, length_bytes: int, digest: str) -> bytes:
    """A file's bytes, proved to be those that the description names."""
    from blake3 import blake3

    hint = "Reinstall toonsearch, or publish the index again."
    if not 0 < length_bytes <= MAX_MODEL_BYTES:
        raise NoIndexError(f"{path}: a length of {length_bytes} bytes is impossible")
    try:
        with path.open("rb") as file:
            # One byte more than promised is enough to notice a longer file.
            data = file.read(length_bytes + 1)
    except OSError as error:
        raise NoIndexError(f"{path}: {error.strerror or error}", hint) from error
    if len(data) != length_bytes or blake3(data).hexdigest() != digest:
        raise NoIndexError(f"{path} is damaged: its digest is not that of model.json", hint)
    return data


# --- Which model: the shipped one, one that was trained here, or a folder.
#
# Trained models lie side by side under the data root, in folders named by their ids. The id of
# the *space* (`ModelDescription.model_id`) is that of network and preprocessing alone: models
# that differ only in their heads share their vectors, and nothing is embedded twice.

SHIPPED = "shipped"


def model_dir(name: str, layout: Layout) -> Path:
    """The folder of a model: `shipped`, an id, or a folder.

    Errors:  InputError when there is none
    """
    if name == SHIPPED:
        return shipped_model_dir()
    trained = layout.models / name
    if Path(name).name == name and (trained / DESCRIPTION_FILE).is_file():
        return trained
    shipped = shipped_model_dir()
    if name == shipped.name:
        return shipped
    folder = Path(name).expanduser()
    if (folder / DESCRIPTION_FILE).is_file():
        return folder
    if Path(name).name != name:
        raise InputError(f"encoder.model: {folder} holds no {DESCRIPTION_FILE}")
    known = [
        SHIPPED,
        shipped.name,
        *(info.name for info in list_models(layout) if not info.shipped),
    ]
    raise InputError(f"there is no model {name!r}", nearest(name, known))


@dataclass(frozen=True)
class ModelInfo:
    """One model as `toonsearch train --list` shows it; `state` is ok or what is wrong."""

    name: str
    space: str
    dimension: int
    heads: bool
    shipped: bool
    state: str


def list_models(layout: Layout) -> list[ModelInfo]:
    """The shipped model and those that were trained here, by name."""
    folders = [shipped_model_dir()]
    if layout.models.is_dir():
        folders += sorted(
            path
            for path in layout.models.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        )
    found = []
    for number, folder in enumerate(folders):
        try:
            about, state = ModelDescription.read(folder), "ok"
            space, dimension = about.model_id, about.dimension
        except NoIndexError as error:
            space, dimension, state = "", 0, error.message
        found.append(
            ModelInfo(folder.name, space, dimension, has_heads(folder), number == 0, state)
        )
    return found
