"""The two runtimes that can run the exported network; each is imported when it starts."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from schemas.errors import NoIndexError

INPUT_NAME = "pixels"
Session = Callable[[np.ndarray], np.ndarray]


def without_telemetry() -> None:
    """Keep ONNX Runtime from writing a device id into the user's cache and from sending events
    to its maker, which its wheels do since 1.30 unless told before they are imported."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def give_back_memory() -> None:
    """Return what was freed to the system: parsing a network leaves 33 MB that glibc would keep,
    a tenth of a query's memory. Other C libraries have no such function, or no need of it."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def start_onnxruntime(data: bytes, threads: int, spin: bool) -> Session:
    """A network in ONNX Runtime; `spin` when nothing else wants the cores while it runs.

    Errors:  NoIndexError when the runtime is missing or refuses the network
    """
    without_telemetry()
    try:
        import onnxruntime
    except ImportError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # what pybind makes of Ctrl-C
            raise error.__cause__ from None
        raise NoIndexError("onnxruntime is not installed", "Reinstall toonsearch.") from error
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
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises types of its own from native code
        raise NoIndexError(f"onnxruntime cannot load the model ({error})") from error
    give_back_memory()

    def run(batch: np.ndarray) -> np.ndarray:
        vectors: np.ndarray = session.run(None, {INPUT_NAME: batch})[0]
        return vectors

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
        network = core.compile_model(core.read_model(data), "CPU", options)
    except Exception as error:  # the runtime raises types of its own from native code
        raise NoIndexError(f"openvino cannot load the model ({error})") from error

    def run(batch: np.ndarray) -> np.ndarray:
        return np.array(network(batch)[0])

    return run
