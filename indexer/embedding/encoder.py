"""Runs the exported style network: pixels in, unit vectors out.

The digests of the model's files are proved before anything parses a byte. Runtimes are imported
when the first picture is encoded, and torch never.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Literal

import numpy as np

from indexer.embedding.models import (
    MODEL_FILE,
    ModelDescription,
    read_restoration,
    verified_network,
)
from indexer.embedding.preprocess import Prepared
from indexer.embedding.restoration import Restoration, Seen, conditions
from indexer.labels.deviation import deviations_of
from schemas.errors import InputError, NoIndexError

# --- The two runtimes that can run the exported network; each is imported when it starts.

INPUT_NAME = "pixels"
M_ARENA_MAX = -8
"""glibc's number, of malloc.h."""
Session = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
"""Pixels to vectors, and the standardised statistics that they are projected from where the
network tells those. Shapes:  (B, H, W, 3) -> (B, D), (B, S)"""
STATISTICS_NAME = b"clipped"
"""What `indexer/training/onnx_graph.py` calls the projection's input."""
STATISTICS_TOO = b":\x11b\x0f\n\x07clipped\x12\x04\n\x02\x08\x01"
"""A model of nothing but `graph { output { name: "clipped", type { tensor of floats } } }`."""


def telling_statistics(data: bytes) -> bytes:
    """The network, with the projection's input as a second output where it has one.

    Messages of protocol buffers that lie behind one another are merged, and lists are joined. So
    models that were exported before anybody asked for it tell it too, with the vectors they had.
    """
    return data + STATISTICS_TOO if STATISTICS_NAME in data else data


def without_telemetry() -> None:
    """Keep ONNX Runtime from writing a device id into the user's cache and from sending events
    to its maker, which its wheels do since 1.30 unless told before they are imported."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def import_onnxruntime() -> None:
    """All that `start_onnxruntime` imports, so that another thread may run that: where Ctrl-C
    interrupts an import, one that another thread has begun can wait for ever.

    Errors:  NoIndexError when the runtime is missing
    """
    without_telemetry()
    try:
        import ctypes  # noqa: F401

        import onnxruntime  # noqa: F401
    except ImportError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # what pybind makes of Ctrl-C
            raise error.__cause__ from None
        raise NoIndexError("onnxruntime is not installed", "Reinstall toonsearch.") from error


def give_back_memory() -> None:
    """Return what was freed to the system: parsing a network leaves 33 MB that glibc would keep,
    a tenth of a query's memory."""
    _glibc("malloc_trim", 0)


def share_one_heap() -> None:
    """Let all threads that are still to come allocate where the first one does. A heap of its own
    for the thread that loads a network costs 12 MB more than it saves waiting."""
    _glibc("mallopt", M_ARENA_MAX, 1)


def _glibc(name: str, *numbers: int) -> None:
    """Call a function that other C libraries do not have, or do not need."""
    import ctypes

    function = getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None
    if function is not None:
        function(*numbers)


def start_onnxruntime(data: bytes, threads: int, spin: bool) -> Session:
    """A network in ONNX Runtime; `spin` when nothing else wants the cores while it runs.

    Errors:  NoIndexError when the runtime is missing or refuses the network
    """
    import_onnxruntime()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Shapes differ from call to call: a memory pattern for each would only cost memory.
    options.enable_mem_pattern = False
    # Without a copy of the projection's matrix that suits batches: a single picture is as fast
    # without it, loading takes two thirds of the time and 5 MB less. The sums of a batch would
    # come out in another order, so pictures are encoded one by one.
    options.add_session_config_entry("session.disable_prepacking", "1")
    # One picture at a time: threads that spin between operators and an arena that keeps its
    # pages make 12 ms of 15. In bulk spinning would take cores from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    try:
        session = onnxruntime.InferenceSession(
            telling_statistics(data), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime raises types of its own from native code
        raise NoIndexError(f"onnxruntime cannot load the model ({error})") from error
    give_back_memory()

    def run(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        vectors, *inner = session.run(None, {INPUT_NAME: batch})
        return vectors, inner[0] if inner else None

    return run


def start_openvino(data: bytes, threads: int) -> Session:
    """A network in OpenVINO. Errors: as for ONNX Runtime"""
    try:
        import openvino
    except ImportError as error:
        raise NoIndexError(
            "openvino is not installed", "pip install openvino, or set encoder.runtime = 'auto'."
        ) from error
    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        # bf16 would move vectors between machines that have it and those that do not.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        network = core.compile_model(core.read_model(telling_statistics(data)), "CPU", options)
    except Exception as error:  # the runtime raises types of its own from native code
        raise NoIndexError(f"openvino cannot load the model ({error})") from error

    def run(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        vectors, *inner = (np.array(part) for part in network(batch).to_tuple())
        return vectors, inner[0] if inner else None

    return run


class Loading(Thread):
    """A runtime that starts beside other work. What it calls must import nothing
    (`import_onnxruntime`); the process waits for it, a tenth of a second, before it ends."""

    def __init__(self, start: Callable[[], Session]) -> None:
        super().__init__(name="load-network")
        self._load = start
        self._session: Session | None = None
        self._error: Exception | None = None
        self._over = Event()
        self.start()

    def run(self) -> None:
        try:
            self._session = self._load()
        except Exception as error:  # told to whoever asks for the session
            self._error = error
        finally:
            self._over.set()

    def session(self) -> Session:
        """The session, as soon as it is there. Errors: those of its start"""
        # Not `join`: one that Ctrl-C interrupts takes the thread for ended (CPython's bpo-45274),
        # and then the process ends below a runtime that still starts, and is aborted.
        self._over.wait()
        if self._error is not None:
            raise self._error
        assert self._session is not None
        return self._session


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
                "Prepare it with indexer.embedding.preprocess.picture_to_pixels.",
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
