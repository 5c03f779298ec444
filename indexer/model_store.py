"""Which model: the shipped one, one that was trained here, or a folder.

Trained models lie side by side under the data root, in folders named by their ids. The id of
the *space* (`ModelDescription.model_id`) is that of network and preprocessing alone: models
that differ only in their heads share their vectors, and nothing is embedded twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from indexer.head_files import has_heads
from indexer.model_files import DESCRIPTION_FILE, ModelDescription, shipped_model_dir
from schemas.errors import InputError, NoIndexError, nearest
from schemas.layout import Layout

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
