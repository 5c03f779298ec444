"""Runs the exported style network: pixels in, embeddings out.

The digest of the model's file is checked before anything parses a byte. ONNX Runtime is imported
when the first picture is encoded, and torch never.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Literal, NamedTuple

import numpy as np

from indexer.embedding.models import MODEL_FILE, ModelDescription, verified_network
from schemas.errors import InputError, NoIndexError, UsageError

INPUT_NAME = "pixels"
OUTPUTS = ("vector", "ood", "subject")
"""Of a graph; one that was made elsewhere may lack the last."""
Device = Literal["auto", "cpu", "cuda"]
CUDA = "CUDAExecutionProvider"
PICTURES_ON_GPU, PIXELS_ON_GPU = 64, 1 << 24
"""Of one pass on a GPU; activations take some hundred bytes for a pixel."""
Session = Callable[[np.ndarray], Sequence[np.ndarray]]
"""Pixels (B, H, W, 3) to the outputs of a graph, in its order."""


class Encoded(NamedTuple):
    """Embeddings of pictures, and how far out of the training distribution each picture is: the
    root mean square of its standardised statistics, about 1 for training pictures. `subjects` are
    embeddings of what is shown, None where the network has no such output.

    Shapes:  vectors (B, D) float32 unit, ood (B,) float32, subjects (B, S) float32 unit
    """

    vectors: np.ndarray
    ood: np.ndarray
    subjects: np.ndarray | None = None

    def part(self, start: int, stop: int) -> Encoded:
        """Those of some pictures that follow one another."""
        subjects = None if self.subjects is None else self.subjects[start:stop]
        return Encoded(self.vectors[start:stop], self.ood[start:stop], subjects)


class OnGpu:
    """A session that runs on a GPU, where several pictures share a pass."""

    def __init__(self, run: Session) -> None:
        self.run = run

    def __call__(self, batch: np.ndarray) -> Sequence[np.ndarray]:
        return self.run(batch)


# --- The runtime, which is imported when it starts.


def without_telemetry() -> None:
    """Keep ONNX Runtime from writing a device id into the user's cache and from sending events
    to its maker, which its wheels do since 1.30 unless this is set before they are imported."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def import_onnxruntime() -> None:
    """Import ONNX Runtime on the calling thread: where Ctrl-C interrupts an import, one that
    another thread has begun can wait for ever.

    Errors:  NoIndexError when the runtime is missing
    """
    without_telemetry()
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # what pybind makes of Ctrl-C
            raise error.__cause__ from None
        raise NoIndexError("onnxruntime is not installed", "Reinstall toonsearch.") from error


def start_onnxruntime(
    data: bytes,
    threads: int,
    spin: bool,
    outputs: Sequence[str] | None = None,
    input_name: str = INPUT_NAME,
    device: Device = "cpu",
) -> Session:
    """A network in ONNX Runtime; `spin` when nothing else wants the cores while it runs. Of some
    `outputs`, as far as the network has them, only what leads to them is computed. On a GPU for
    cuda, and for auto where the runtime has CUDA: then it is an `OnGpu`.

    Errors:  NoIndexError when the runtime is missing or refuses the network
             UsageError for cuda where the runtime has none
    """
    import_onnxruntime()
    import onnxruntime

    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu" and CUDA in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls()  # those of NVIDIA's packages or torch's
        # Ten bits of TF32 would move vectors away from those of other machines.
        providers.insert(0, (CUDA, {"use_tf32": "0"}))
    elif device == "cuda":
        raise no_cuda()

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Shapes differ from call to call: a memory pattern for each would only cost memory.
    options.enable_mem_pattern = False
    # Copies of the weights that suit large batches would double the time of loading.
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    try:
        session = onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # the runtime raises types of its own from native code
        raise NoIndexError(f"onnxruntime cannot load the model ({error})") from error
    # Without NVIDIA's libraries or a GPU the runtime takes the CPU and goes on.
    is_cuda = CUDA in session.get_providers()
    if device == "cuda" and not is_cuda:
        raise no_cuda()
    run = onnxruntime.RunOptions()
    run.only_execute_path_to_fetches = True
    names = [one.name for one in session.get_outputs() if outputs is None or one.name in outputs]

    started: Session = partial(_outputs, session, names, input_name, run)
    return OnGpu(started) if is_cuda else started


def _outputs(
    session: Any, names: list[str], input_name: str, run: Any, batch: np.ndarray
) -> Sequence[np.ndarray]:
    return list(session.run(names, {input_name: batch}, run))


def no_cuda() -> UsageError:
    return UsageError(
        "encoder.device is cuda, and onnxruntime finds no CUDA or no GPU",
        "Install onnxruntime-gpu in the place of onnxruntime, or set encoder.device = 'auto'.",
    )


class _Loading(Thread):
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
        except Exception as error:  # raised where the session is asked for
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


class Encoder:
    """A style network on disk; the runtime starts with the first picture."""

    def __init__(
        self,
        model_dir: Path,
        description: ModelDescription,
        threads: int,
        bulk: bool,
        device: Device = "auto",
    ) -> None:
        self.model_id = description.model_id
        self.dimension = description.dimension
        self.pixel_spec = description.pixel_spec
        self.preprocessing_digest = description.pixel_spec.digest
        self._description = description
        self._model_dir = model_dir
        self._threads = threads
        # A GPU takes seconds to start: for one picture the CPU is done before.
        self._device: Device = "cpu" if device == "auto" and not bulk else device
        self._wanted = device
        self._parallel = bulk  # each core takes its own picture
        self._spin = not self._parallel
        self._turn: AbstractContextManager[Any] = nullcontext()
        self._session: Session | None = None
        self._starting = Lock()
        self._loading: _Loading | None = None

    @cached_property
    def tells_subject(self) -> bool:
        """Whether the network says what is shown; starts it. Errors: as of `encode`"""
        side_px = self.pixel_spec.multiple_px
        return self.encode([np.zeros((side_px, side_px, 3), np.uint8)]).subjects is not None

    @classmethod
    def open(
        cls,
        model_dir: Path,
        *,
        device: Device = "auto",
        threads: int | None = None,
        bulk: bool = False,
    ) -> Encoder:
        """Read the description; the network itself is loaded with the first picture.

        `bulk` says that thousands of pictures will follow: the device "auto" is then a GPU, where
        ONNX Runtime has CUDA.

        Errors:  NoIndexError when the folder holds no usable description
        """
        if threads is None:
            threads = len(os.sched_getaffinity(0))
        return cls(model_dir, ModelDescription.read(model_dir), threads, bulk, device)

    def take_turns(self) -> None:
        """Let threads that encode at the same time wait for one another, each picture having all
        cores; to be called before the first picture. Threads of the runtime do not spin between
        operators: search and decoding want their cores.
        """
        self._turn, self._parallel, self._spin = Lock(), False, False
        self._device = self._wanted

    @property
    def running_on(self) -> str | None:
        """cpu or cuda; None before the first picture."""
        if self._session is None:
            return None
        return "cuda" if isinstance(self._session, OnGpu) else "cpu"

    def begin(self) -> None:
        """Load the network on a thread, beside what the caller does until the first picture.
        A GPU is left to start with the picture.

        Errors:  as of `encode`; what goes wrong on the thread is raised there
        """
        with self._starting:
            idle = self._session is None and self._loading is None
            if idle and self._device == "cpu":
                import_onnxruntime()
                self._loading = _Loading(self._loader())

    def encode(
        self,
        pictures: Sequence[np.ndarray],
        subject_of: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Encoded:
        """Encode prepared pictures of any mix of shapes, keeping their order; `subject_of` says
        what one shows, in the place of the network.

        Shapes:  B pictures (H, W, 3) uint8
        Errors:  NoIndexError when the model is damaged or its runtime is missing
                 InputError when an array is not a prepared picture
        """
        for picture in pictures:
            self._check(picture)
        vectors = np.empty((len(pictures), self.dimension), np.float32)
        ood = np.empty(len(pictures), np.float32)
        subjects: list[np.ndarray | None] = [None] * len(pictures)
        if not pictures:
            return Encoded(vectors, ood)
        session = self._started()

        def run(rows: Sequence[int]) -> None:
            with self._turn:
                found = session(np.stack([pictures[row] for row in rows]))
            for at, row in enumerate(rows):
                vectors[row], ood[row] = found[0][at], found[1][at]
                if subject_of is not None:
                    subjects[row] = subject_of(pictures[row])
                elif len(found) > 2:
                    subjects[row] = found[2][at]

        def encoded() -> Encoded:
            told = [one for one in subjects if one is not None]
            return Encoded(vectors, ood, np.stack(told) if told else None)

        on_gpu = isinstance(session, OnGpu)
        workers = min(self._threads if self._parallel and not on_gpu else 1, len(pictures))
        if workers == 1:
            for rows in passes([one.shape for one in pictures], together=on_gpu):
                run(rows)
            return encoded()
        from concurrent.futures import ThreadPoolExecutor  # 10 ms that one picture never needs

        # Large ones first, so that no core waits for a long one at the end.
        order = sorted(range(len(pictures)), key=lambda row: -pictures[row].size)
        with ThreadPoolExecutor(workers, thread_name_prefix="encode") as pool:
            for _ in pool.map(run, ([row] for row in order)):
                pass
        return encoded()

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
        """What starts the runtime; the model's file is checked and read before."""
        data = verified_network(self._model_dir / MODEL_FILE, self._description)
        threads = 1 if self._parallel else self._threads
        device = self._device
        return lambda: start_onnxruntime(data, threads, self._spin, OUTPUTS, device=device)


def passes(shapes: Sequence[tuple[int, ...]], *, together: bool) -> Iterator[list[int]]:
    """Which pictures share a pass through the network: on a GPU, `together`, some of one shape,
    for it idles with one. On a CPU each is alone: sums over a batch come out in another order,
    and there a vector does not depend on what shares its batch.
    """
    if not together:
        yield from ([row] for row in range(len(shapes)))
        return
    alike: dict[tuple[int, ...], list[int]] = {}
    for row, shape in enumerate(shapes):
        alike.setdefault(shape, []).append(row)
    for (height, width, *_), rows in alike.items():
        step = max(1, min(PICTURES_ON_GPU, PIXELS_ON_GPU // (height * width)))
        yield from (rows[start : start + step] for start in range(0, len(rows), step))
