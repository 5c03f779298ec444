"""Runs the exported style network: pixels in, unit vectors out.

The digests of the model's files are proved before anything parses a byte. Runtimes are imported
when the first picture is encoded, and torch never.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from indexer.deviation import deviations_of
from indexer.model_files import MODEL_FILE, ModelDescription, read_restoration, verified_network
from indexer.pixels import Prepared
from indexer.restoration import Restoration, Seen, conditions
from indexer.runtimes import (
    Loading,
    Session,
    import_onnxruntime,
    start_onnxruntime,
    start_openvino,
)
from schemas.errors import InputError

Runtime = Literal["auto", "onnxruntime", "openvino"]


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
        Errors:  as of `look`
        """
        return self.look(pictures).vectors

    def look(self, pictures: Sequence[Prepared]) -> Seen:
        """What the network says of pictures, and in which condition they are.

        Shapes:  B pictures
        Errors:  NoIndexError when the model is damaged or its runtime is missing
                 InputError when an array is not a prepared picture
        """
        pixels = [picture.pixels for picture in pictures]
        for array in pixels:
            self._check(array)
        vectors, deviation = self._plain(pixels)
        found = np.asarray([conditions(picture) for picture in pictures], float).reshape(-1, 2)
        return Seen(vectors, found, self._restoration, deviation)

    def _plain(self, pixels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """What the network says: vectors (B, D), and how unlike what it knows pictures are (B,)"""
        vectors = np.empty((len(pixels), self.dimension), np.float32)
        deviation = np.full(len(pixels), np.nan)
        if not pixels:
            return vectors, deviation
        session = self._started()

        def run(row: int) -> None:
            # One picture in a pass: two ran a twentieth faster, but only with a matrix that the
            # runtime copies and rearranges at its start (`start_onnxruntime`).
            with self._turn:
                found, statistics = session(np.stack([pixels[row]]))
            vectors[row] = found[0]
            if statistics is not None:
                deviation[row] = deviations_of(statistics)[0]

        workers = min(self._threads if self._parallel else 1, len(pixels))
        if workers == 1:
            for row in range(len(pixels)):
                run(row)
            return vectors, deviation
        from concurrent.futures import ThreadPoolExecutor  # 10 ms that one picture never needs

        # Large ones first, so that no core waits for a long one at the end.
        order = sorted(range(len(pixels)), key=lambda row: -pixels[row].size)
        with ThreadPoolExecutor(workers, thread_name_prefix="encode") as pool:
            for _ in pool.map(run, order):
                pass
        return vectors, deviation

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
        self._restoration = read_restoration(self._model_dir, self._description)
        if self.runtime == "openvino":
            return lambda: start_openvino(data, self._threads)
        threads = 1 if self._parallel else self._threads
        return lambda: start_onnxruntime(data, threads, self._spin)
