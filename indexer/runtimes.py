"""The two runtimes that can run the exported network; each is imported when it starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Event, Thread

import numpy as np

from schemas.errors import NoIndexError

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
