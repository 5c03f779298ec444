"""A model's files: what it is, and the check that the network is the one that it names.

A model is a folder with `model.json` (what it is, length and digest of the network) and
`model.onnx`; heads may lie beside them. The digest is checked before anything parses a byte.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.embedding.preprocess import PixelSpec
from indexer.labels.heads import has_heads
from schemas.errors import InputError, NoIndexError, nearest
from schemas.storage.fsio import digest_file, read_verified, refusal, storage_errors
from schemas.storage.layout import Layout

FORMAT_VERSION = 3
MODEL_FILE = "model.onnx"
DESCRIPTION_FILE = "model.json"
CLIP_FILE = "clip.json"
"""In its place in the folder of a CLIP model (`clip.py`), which is no model of style."""
MAX_MODEL_BYTES = (1 << 31) - 1
"""A graph with its weights inside cannot be larger: it is one protocol buffer."""


@dataclass(frozen=True)
class ModelDescription:
    """What `model.json` says."""

    model_id: str
    dimension: int
    pixel_spec: PixelSpec
    network: dict[str, Any]
    """Length in bytes and BLAKE3 of the network's file."""

    @classmethod
    def read(cls, model_dir: Path) -> ModelDescription:
        """Read and check a model's description.

        Errors:  NoIndexError when it is missing, damaged or of another format
        """
        path = model_dir / DESCRIPTION_FILE
        try:
            value: Any = json.loads(path.read_bytes())
            if value["format_version"] != FORMAT_VERSION:
                raise NoIndexError(
                    f"{path} has format {value['format_version']}, this release reads"
                    f" {FORMAT_VERSION}",
                    "Train the model again, or build the index again.",
                )
            network = value["files"][MODEL_FILE]
            return cls(
                model_id=str(value["model_id"]),
                dimension=int(value["dimension"]),
                pixel_spec=PixelSpec.from_json(value["pixels"]),
                network={"bytes": int(network["bytes"]), "blake3": str(network["blake3"])},
            )
        except OSError as error:
            said, hint = refusal(error) or (
                f"is missing ({error.strerror})",
                "Reinstall toonsearch.",
            )
            raise NoIndexError(f"no model in {model_dir}: {path.name} {said}", hint) from error
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
    """The network's bytes, checked to be those that the description names.

    Errors:  NoIndexError when they are missing, cut or changed
    """
    hint = "Reinstall toonsearch, or publish the index again."
    try:
        data = read_verified(path, description.network, MAX_MODEL_BYTES)
    except OSError as error:
        said, hint = refusal(error) or (f"cannot be read ({error.strerror or error})", hint)
        raise NoIndexError(f"{path} {said}", hint) from error
    except ValueError as error:
        raise NoIndexError(f"{path}: {error}", hint) from error
    return in_one_file(path, data)


def in_one_file(path: Path, data: bytes) -> bytes:
    """A graph that carries all of its weights. Errors:  NoIndexError for any other"""
    # A tensor kept outside the graph names its file under this key: such a model could make
    # the runtime open any path. Our exports carry everything and never use the word.
    if b"location" in data:
        raise NoIndexError(f"{path} refers to other files", "Export the model in one file.")
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
            if path.is_dir() and not path.name.startswith(".") and not (path / CLIP_FILE).is_file()
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


@contextlib.contextmanager
def new_model_folder(target: Path) -> Iterator[Path]:
    """A folder to write a model into, which becomes `target` when all is written, or never.

    A `target` with the same files stays as it is; another one is moved aside and removed last.

    Errors:  StorageError when it cannot be written
    """
    with storage_errors(f"the model {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".model-", dir=target.parent))
        old = aside.with_name(f"{aside.name}-old")
        try:
            yield aside
            aside.chmod(0o755)
            if target.exists():
                if _same_files(aside, target):
                    return
                target.rename(old)
            aside.rename(target)
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files."""

    def digests(folder: Path) -> dict[str, str]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(file.relative_to(folder)): digest_file(file) for file in files}

    return digests(one) == digests(other)
