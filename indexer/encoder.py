"""Runs the exported style network: pixels in, unit vectors out.

A model is a folder with `model.json` (what it is, and the length and digest of its files) and
`model.onnx`. The digest is proved before the runtime parses a byte. Runtimes are imported
when the first picture is encoded, and torch never.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from indexer.pixels import PixelSpec, Prepared
from indexer.restoration import RESTORATION_FILE, Restoration, conditions
from indexer.runtimes import (
    Loading,
    Session,
    import_onnxruntime,
    start_onnxruntime,
    start_openvino,
)
from schemas.errors import InputError, NoIndexError

FORMAT_VERSION = 2
READABLE = (1, 2)
"""Format 1 has no restoration (`indexer/restoration.py`)."""
MODEL_FILE = "model.onnx"
DESCRIPTION_FILE = "model.json"

MAX_MODEL_BYTES = 512 * 1024 * 1024
Runtime = Literal["auto", "onnxruntime", "openvino"]


@dataclass(frozen=True)
class ModelDescription:
    """What `model.json` says."""

    model_id: str
    dimension: int
    pixel_spec: PixelSpec
    network: tuple[int, str]
    """Length in bytes and BLAKE3 of the network's file."""
    restoration: tuple[int, str] | None = None
    """The same of the restoration; None for a model that has none."""

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
                network=files[MODEL_FILE],
                restoration=files.get(RESTORATION_FILE),
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
    root = Path(__file__).parent / "models"
    found = sorted(path.parent for path in root.glob(f"*/{DESCRIPTION_FILE}"))
    if len(found) != 1:
        raise NoIndexError(
            f"{len(found)} models are shipped in {root}, one is expected", "Reinstall toonsearch."
        )
    return found[0]


class Encoder:
    """A style network on disk; the runtime starts with the first picture."""

    def __init__(
        self,
        model_dir: Path,
        description: ModelDescription,
        runtime: Literal["onnxruntime", "openvino"],
        threads: int,
        bulk: bool,
    ) -> None:
        self.model_id = description.model_id
        self.dimension = description.dimension
        self.pixel_spec = description.pixel_spec
        self.preprocessing_digest = description.pixel_spec.digest
        self.runtime = runtime
        self._description = description
        self._model_dir = model_dir
        self._threads = threads
        # In bulk work each core takes its own batch, which needs no waiting for one another
        # (97 against 85 pictures a second, same trial); OpenVINO runs one request at a time.
        self._parallel = bulk and runtime == "onnxruntime"
        self._spin = not self._parallel
        self._turn: AbstractContextManager[Any] = nullcontext()
        self._session: Session | None = None
        self._starting = Lock()
        self._loading: Loading | None = None
        self._restoration: Restoration | None = None

    @classmethod
    def open(
        cls,
        model_dir: Path,
        *,
        runtime: Runtime = "auto",
        threads: int | None = None,
        bulk: bool = False,
    ) -> Encoder:
        """Read the description; the network itself is loaded with the first picture.

        `bulk` says that thousands of pictures will follow, so that a slow start is repaid.
        "auto" is ONNX Runtime: it starts faster, and on whole catalogs the other runtime is
        not faster by a factor that would pay for a second set of numerics (docs/model-card.md).

        Errors:  NoIndexError when the folder holds no usable description
        """
        if threads is None:
            threads = len(os.sched_getaffinity(0))
        chosen = "onnxruntime" if runtime == "auto" else runtime
        return cls(model_dir, ModelDescription.read(model_dir), chosen, threads, bulk)

    def take_turns(self) -> None:
        """Threads that ask at the same time wait for one another, and each picture has all cores;
        to be said before the first picture. Eight visitors of the page who pause a second wait
        78 ms so, and 104 ms where each picture has one core; those who never pause wait a tenth
        longer (`python -m bench --only web`, two cores). The runtime's threads do not spin
        between operators: search and decoding want their cores.
        """
        self._turn, self._parallel, self._spin = Lock(), False, False

    def begin(self) -> None:
        """Load the network on a thread, beside what the caller does until the first picture: to
        decode it, and to open the index. OpenVINO is left to start with the picture.

        Errors:  as of `encode`; what goes wrong on the thread is told there
        """
        with self._starting:
            if self._session is None and self._loading is None and self.runtime == "onnxruntime":
                import_onnxruntime()
                self._loading = Loading(self._loader())

    def encode(self, pictures: Sequence[Prepared]) -> np.ndarray:
        """Encode pictures of any mix of shapes, keeping their order.

        Shapes:  B pictures -> (B, D) float32, unit rows
        Errors:  NoIndexError when the model is damaged or its runtime is missing
                 InputError when an array is not a prepared picture
        """
        pixels = [picture.pixels for picture in pictures]
        for array in pixels:
            self._check(array)
        vectors = self._plain(pixels)
        if self._restoration is None or not pixels:
            return vectors
        found = np.asarray([conditions(picture) for picture in pictures])  # (B, 2)
        return self._restoration.apply(vectors, found)

    def _plain(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """What the network says; (B, D)."""
        vectors = np.empty((len(pixels), self.dimension), np.float32)
        if not pixels:
            return vectors
        session = self._started()

        def run(picture: np.ndarray) -> np.ndarray:
            # One picture in a pass: two ran a twentieth faster, but only with a matrix that the
            # runtime copies and rearranges at its start (`start_onnxruntime`).
            with self._turn:
                vector: np.ndarray = session(np.stack([picture]))[0]
                return vector

        workers = min(self._threads if self._parallel else 1, len(pixels))
        if workers == 1:
            for row, picture in enumerate(pixels):
                vectors[row] = run(picture)
            return vectors
        from concurrent.futures import ThreadPoolExecutor  # 10 ms that one picture never needs

        # Large ones first, so that no core waits for a long one at the end.
        order = sorted(range(len(pixels)), key=lambda row: -pixels[row].size)
        with ThreadPoolExecutor(workers, thread_name_prefix="encode") as pool:
            for row, vector in zip(order, pool.map(run, [pixels[r] for r in order]), strict=True):
                vectors[row] = vector
        return vectors

    def _check(self, picture: np.ndarray) -> None:
        multiple = self.pixel_spec.multiple_px
        sound = (
            picture.dtype == np.uint8
            and picture.ndim == 3
            and picture.shape[2] == 3
            and min(picture.shape[:2]) > 0
            and picture.shape[0] % multiple == picture.shape[1] % multiple == 0
            and max(picture.shape[:2]) <= self.pixel_spec.max_side_px + multiple
        )
        if not sound:
            raise InputError(
                f"an array of shape {picture.shape} and type {picture.dtype} is not a prepared"
                " picture",
                "Prepare it with indexer.pixels.picture_to_pixels.",
            )

    def _started(self) -> Session:
        with self._starting:
            if self._session is None:
                loading, self._loading = self._loading, None  # one that failed is not asked again
                self._session = self._loader()() if loading is None else loading.session()
            return self._session

    def _loader(self) -> Callable[[], Session]:
        """What starts the runtime; the model's files are proved and read before."""
        data = verified_network(self._model_dir / MODEL_FILE, self._description)
        maps = verified_restoration(self._model_dir, self._description)
        if maps is not None:
            path = self._model_dir / RESTORATION_FILE
            self._restoration = Restoration.from_bytes(maps, self.dimension, path)
        if self.runtime == "openvino":
            return lambda: start_openvino(data, self._threads)
        threads = 1 if self._parallel else self._threads
        return lambda: start_onnxruntime(data, threads, self._spin)


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


def verified_restoration(model_dir: Path, description: ModelDescription) -> bytes | None:
    """The bytes of what the model puts back into vectors of enlarged and grey pictures, proved
    to be those that the description names; None without.

    Errors:  NoIndexError when they are missing, cut or changed
    """
    if description.restoration is None:
        return None
    return _verified(model_dir / RESTORATION_FILE, *description.restoration)


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
