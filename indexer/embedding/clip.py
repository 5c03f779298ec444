"""A CLIP model beside the style network: what pictures show, and words, as vectors of one space.

Its folder holds `clip.json` (what it is; length and digest of each file), one graph for pictures, one
for texts, and the tokenizer. `indexer/training/clip.py` writes it; neither torch nor open_clip is
needed here. Pictures come as the style network's preprocessing leaves them.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.embedding.encoder import Session, start_onnxruntime
from indexer.embedding.models import CLIP_FILE, MAX_MODEL_BYTES, in_one_file
from schemas.errors import InputError, NoIndexError, nearest
from schemas.storage.fsio import read_verified, refusal
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FORMAT_VERSION = 1
PICTURES, TEXTS, TOKENS = "pictures.onnx", "texts.onnx", "tokenizer.json"
TEXT_INPUT = "tokens"
MAX_SIDE_PX = 1024
MAX_CONTEXT = 1024
REMEDY = "Add it again: `toonsearch models add`."
_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")


@dataclass(frozen=True)
class ClipDescription:
    """What `clip.json` says. Texts have at most `context` tokens, `start` and `end` included."""

    model_id: str
    dimension: int
    side_px: int
    context: int
    start: int
    end: int
    files: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> ClipDescription:
        """Read and check a description.

        Errors:  NoIndexError when it is missing, damaged or of another format
        """
        path = folder / CLIP_FILE
        try:
            body: Any = json.loads(path.read_bytes())
            if body["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format {body['format_version']}, not {FORMAT_VERSION}")
            numbers = {
                key: int(body[key]) for key in ("dimension", "side_px", "context", "start", "end")
            }
            if (
                not 0 < numbers["side_px"] <= MAX_SIDE_PX
                or not 2 < numbers["context"] <= MAX_CONTEXT
            ):
                raise ValueError("its sizes are out of range")
            files = {name: dict(body["files"][name]) for name in (PICTURES, TEXTS, TOKENS)}
            return cls(model_id=str(body["model_id"]), files=files, **numbers)
        except OSError as error:
            said, hint = refusal(error) or (f"cannot be read ({error.strerror})", REMEDY)
            raise NoIndexError(f"{path} {said}", hint) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoIndexError(f"{path} is not a description ({error})", REMEDY) from error


class ClipModel:
    """A CLIP model on disk; its two graphs start when they are first needed."""

    def __init__(self, folder: Path, description: ClipDescription, threads: int) -> None:
        self.model_id, self.dimension = description.model_id, description.dimension
        self._folder, self._about, self._threads = folder, description, threads

    @classmethod
    def open(cls, folder: Path, threads: int = 1) -> ClipModel:
        """Read the description. Errors:  NoIndexError when it is unusable"""
        return cls(folder, ClipDescription.read(folder), threads)

    def encode_picture(self, pixels: np.ndarray) -> np.ndarray:
        """What a picture shows; (H, W, 3) uint8 -> (S,) float32 unit. Errors:  NoIndexError"""
        [vector] = self._pictures(square(pixels, self._about.side_px)[None])
        return np.asarray(vector[0])

    def encode_text(self, text: str) -> np.ndarray:
        """A text as a vector of the same space; (S,) float32 unit

        Errors:  NoIndexError when a file is damaged; InputError when a package is missing
        """
        [vector] = self._texts(self.tokens(text)[None])
        return np.asarray(vector[0])

    def tokens(self, text: str) -> np.ndarray:
        """The numbers that stand for a text, cut to the model's length; (context,) int64"""
        about = self._about
        clean = html.unescape(html.unescape(text.translate(_QUOTES)))
        ids = self._tokenizer.encode(clean, add_special_tokens=False).ids[: about.context - 2]
        found = np.zeros(about.context, np.int64)
        found[: len(ids) + 2] = [about.start, *ids, about.end]
        return found

    @cached_property
    def _pictures(self) -> Session:
        return start_onnxruntime(self._graph(PICTURES), self._threads, spin=False)

    @cached_property
    def _texts(self) -> Session:
        data = self._graph(TEXTS)
        return start_onnxruntime(data, self._threads, spin=False, input_name=TEXT_INPUT)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise InputError(
                "tokenizers is not installed", "Install the extra: pip install 'toonsearch[clip]'."
            ) from error
        return Tokenizer.from_buffer(self._read(TOKENS))

    def _graph(self, name: str) -> bytes:
        return in_one_file(self._folder / name, self._read(name))

    def _read(self, name: str) -> bytes:
        path = self._folder / name
        try:
            return read_verified(path, self._about.files[name], MAX_MODEL_BYTES)
        except OSError as error:
            said, hint = refusal(error) or (f"cannot be read ({error.strerror or error})", REMEDY)
            raise NoIndexError(f"{path} {said}", hint) from error
        except ValueError as error:
            raise NoIndexError(f"{path}: {error}", REMEDY) from error


def square(pixels: np.ndarray, side_px: int) -> np.ndarray:
    """The middle square of a picture, its shorter side scaled to that length, as CLIP's own
    preprocessing does; (H, W, 3) uint8 -> (side, side, 3) uint8"""
    from PIL import Image

    image = Image.fromarray(pixels)
    scale = side_px / min(image.size)
    width, height = (max(side_px, int(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - side_px) / 2), round((height - side_px) / 2)
    return np.asarray(image.crop((left, top, left + side_px, top + side_px)))


def clip_folders(layout: Layout) -> list[Path]:
    """Folders of the CLIP models that were added here, by name."""
    return sorted(path.parent for path in layout.models.glob(f"*/{CLIP_FILE}"))


def clip_folder(name: str, layout: Layout) -> Path:
    """The folder of one. Errors:  InputError when there is none of that name"""
    known = {folder.name: folder for folder in clip_folders(layout)}
    if name not in known:
        hint = nearest(name, known) if known else "`toonsearch models add open_clip:NAME` adds one."
        raise InputError(f"there is no CLIP model {name!r}", hint)
    return known[name]
