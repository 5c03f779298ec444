"""The shipped network, and models that were tampered with."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from indexer.embedding import encoder as encoder_module
from indexer.embedding.encoder import (
    Encoder,
    OnGpu,
    Session,
    passes,
    start_onnxruntime,
)
from indexer.embedding.models import shipped_model_dir
from indexer.embedding.preprocess import prepare
from schemas.errors import InputError, NoIndexError, UsageError
from tests.drawings import washed

SHAPES = ((352, 288), (96, 64), (352, 288), (500, 700), (200, 120), (40, 41))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.open(shipped_model_dir())


def drawing(seed: int, size: tuple[int, int]) -> Image.Image:
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for _ in range(30):
        points = random.integers(0, max(size), 4).tolist()
        pen.line(points, fill=tuple(random.integers(0, 200, 3).tolist()), width=2)
    return image


@pytest.fixture(scope="module")
def prepared(encoder: Encoder) -> list[np.ndarray]:
    return [prepare(drawing(n, size), encoder.pixel_spec) for n, size in enumerate(SHAPES)]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_model_dir(), tmp_path / "model"))


def test_vectors_are_unit_rows_in_order(encoder: Encoder, prepared: list[np.ndarray]) -> None:
    together, ood, _ = encoder.encode(prepared)
    assert together.shape == (len(SHAPES), encoder.dimension) and together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert ood.shape == (len(SHAPES),) and ood.dtype == np.float32 and (ood > 0).all()
    for row, score, pixels in zip(together, ood, prepared, strict=True):
        alone = encoder.encode([pixels])
        assert np.abs(alone.vectors[0] - row).max() < 1e-5
        assert alone.ood[0] == pytest.approx(score, rel=1e-5)


def test_bulk_and_single_agree(encoder: Encoder, prepared: list[np.ndarray]) -> None:
    bulk = Encoder.open(shipped_model_dir(), bulk=True, threads=2)
    many = prepared * 5
    assert np.abs(bulk.encode(many).vectors - encoder.encode(many).vectors).max() < 1e-5


@pytest.mark.parametrize("size", [(352, 352), (352, 300), (200, 352)])
def test_a_vector_does_not_depend_on_what_shares_its_batch(size: tuple[int, int]) -> None:
    """Bit for bit: an index that grew must equal one that was built at once."""
    bulk = Encoder.open(shipped_model_dir(), bulk=True, threads=2)
    alone = Encoder.open(shipped_model_dir(), threads=1)
    pictures = [prepare(drawing(seed, size), bulk.pixel_spec) for seed in range(9)]
    wanted = np.concatenate([alone.encode([picture]).vectors for picture in pictures])
    for count in (2, 3, 5, 9):
        parts = [bulk.encode(pictures[at : at + count]).vectors for at in range(0, 9, count)]
        assert np.array_equal(np.concatenate(parts), wanted)


@pytest.mark.parametrize(
    ("cause", "wanted"), [("KeyboardInterrupt()", KeyboardInterrupt), ("None", NoIndexError)]
)
def test_an_interrupted_import_is_no_missing_runtime(
    cause: str, wanted: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the runtime's library is initialised comes as an ImportError."""
    broken = f"raise ImportError('initialization failed') from {cause}"
    (tmp_path / "onnxruntime.py").write_text(broken)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(wanted):
        start_onnxruntime(b"", 1, spin=False)


def test_who_takes_turns_runs_one_picture_at_a_time(prepared: list[np.ndarray]) -> None:
    encoder = Encoder.open(shipped_model_dir(), threads=2)
    encoder.take_turns()
    wanted = [encoder.encode([picture]).vectors for picture in prepared]
    real, busy = encoder._session, threading.Lock()
    assert real is not None

    def watched(batch: np.ndarray) -> Sequence[np.ndarray]:
        assert busy.acquire(blocking=False), "two at once"
        try:
            return real(batch)
        finally:
            busy.release()

    encoder._session = watched
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda picture: encoder.encode([picture]).vectors, prepared * 4))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted * 4, strict=True))


def test_a_network_that_loads_ahead_says_the_same(
    encoder: Encoder, prepared: list[np.ndarray]
) -> None:
    early = Encoder.open(shipped_model_dir())
    early.begin()
    first = early._loading
    assert first is not None
    early.begin()  # once is enough
    assert early._loading is first
    assert np.array_equal(early.encode(prepared).vectors, encoder.encode(prepared).vectors)
    early.begin()
    assert early._loading is None


def test_what_goes_wrong_ahead_is_told_with_the_first_picture(
    prepared: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Session:
        raise NoIndexError("onnxruntime cannot load the model")

    early = Encoder.open(shipped_model_dir())
    with monkeypatch.context() as patch:
        patch.setattr(encoder_module, "start_onnxruntime", refuse)
        early.begin()
        for _ in range(2):
            with pytest.raises(NoIndexError, match="cannot load"):
                early.encode(prepared)
    assert len(early.encode(prepared).vectors) == len(prepared)


def test_the_thread_that_loads_ahead_imports_nothing() -> None:
    """Where Ctrl-C interrupts an import in the main thread, another thread's waits for ever."""
    code = (
        "import sys, threading\n"
        "def refuse(event, args):\n"
        "    if threading.current_thread() is not threading.main_thread():\n"
        "        assert event != 'import', args[0]\n"
        "import numpy as np\n"
        "from indexer.embedding.encoder import Encoder\n"
        "from indexer.embedding.models import shipped_model_dir\n"
        "encoder = Encoder.open(shipped_model_dir())\n"
        "sys.addaudithook(refuse)\n"
        "encoder.begin()\n"
        "encoder.encode([np.zeros((64, 96, 3), np.uint8)])\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)


def test_different_drawings_differ(encoder: Encoder, prepared: list[np.ndarray]) -> None:
    vectors = encoder.encode(prepared).vectors
    assert (vectors @ vectors.T)[~np.eye(len(vectors), dtype=bool)].max() < 0.9999


def test_nothing_in_nothing_out(copied: Path) -> None:
    (copied / "model.onnx").unlink()  # and the network is not even looked for
    encoder = Encoder.open(copied)
    vectors, ood, _ = encoder.encode([])
    assert vectors.shape == (0, encoder.dimension) and ood.shape == (0,)


def test_a_flat_picture_has_a_finite_vector(encoder: Encoder) -> None:
    flat = prepare(Image.new("RGB", (50, 50), "white"), encoder.pixel_spec)
    assert all(np.isfinite(part).all() for part in encoder.encode([flat]))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((224, 224), np.uint8),
        np.zeros((224, 224, 4), np.uint8),
        np.zeros((224, 225, 3), np.uint8),
        np.zeros((0, 224, 3), np.uint8),
        np.zeros((224, 224, 3), np.float32),
        np.zeros((8192, 32, 3), np.uint8),
    ],
)
def test_unprepared_arrays_are_refused(encoder: Encoder, pixels: np.ndarray) -> None:
    with pytest.raises(InputError):
        encoder.encode([pixels])


@pytest.mark.parametrize("position", [0, 1, 1000, -1])
def test_a_changed_byte_is_noticed_before_the_runtime_reads_it(
    copied: Path, position: int, prepared: list[np.ndarray]
) -> None:
    data = bytearray((copied / "model.onnx").read_bytes())
    data[position] ^= 1
    (copied / "model.onnx").write_bytes(data)
    with pytest.raises(NoIndexError, match="damaged"):
        Encoder.open(copied).encode(prepared[:1])


@pytest.mark.parametrize("change", [-1, 1])
def test_a_changed_length_is_noticed(copied: Path, change: int, prepared: list[np.ndarray]) -> None:
    data = (copied / "model.onnx").read_bytes()
    (copied / "model.onnx").write_bytes(data[:change] if change < 0 else data + b"\0")
    with pytest.raises(NoIndexError, match="damaged"):
        Encoder.open(copied).encode(prepared[:1])


def redescribe(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 2},
        {"files": {}},
        {"files": {"model.onnx": {"bytes": "many", "blake3": ""}}},
        {"dimension": None},
        {"pixels": {}},
        {"pixels": 3},
    ],
)
def test_a_damaged_description_is_refused(copied: Path, changes: dict[str, object]) -> None:
    redescribe(copied, **changes)
    with pytest.raises(NoIndexError):
        Encoder.open(copied)


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff"])
def test_a_description_that_is_no_object_is_refused(copied: Path, text: str) -> None:
    (copied / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(NoIndexError):
        Encoder.open(copied)


def test_a_missing_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NoIndexError, match="no model in"):
        Encoder.open(tmp_path)


def test_sound_digest_of_nonsense_is_still_an_error_of_ours(
    copied: Path, prepared: list[np.ndarray]
) -> None:
    from blake3 import blake3

    nonsense = b"\x08\x07nonsense"
    (copied / "model.onnx").write_bytes(nonsense)
    file = {"bytes": len(nonsense), "blake3": blake3(nonsense).hexdigest()}
    redescribe(copied, files={"model.onnx": file})
    with pytest.raises(NoIndexError, match="cannot load"):
        Encoder.open(copied).encode(prepared[:1])


def test_external_data_is_refused(copied: Path, prepared: list[np.ndarray]) -> None:
    """A graph may name files to read its weights from; ours is handed over as bytes and must
    carry everything itself, or a model could make the runtime open any path."""
    onnx = pytest.importorskip("onnx")
    from blake3 import blake3

    model = onnx.load(copied / "model.onnx")
    onnx.save(
        model, copied / "model.onnx", save_as_external_data=True, location="weights.bin",
        size_threshold=0,
    )  # fmt: skip
    data = (copied / "model.onnx").read_bytes()
    file = {"bytes": len(data), "blake3": blake3(data).hexdigest()}
    redescribe(copied, files={"model.onnx": file})
    with pytest.raises(NoIndexError, match="other files"):
        Encoder.open(copied).encode(prepared[:1])


def test_shipped_model_is_named_by_its_content_and_small() -> None:
    folder = shipped_model_dir()
    description = json.loads((folder / "model.json").read_text())
    assert folder.name == description["model_id"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 40_000_000
    network = (folder / "model.onnx").read_bytes()
    for trace in (b"/work", b"/tmp", b"/home", b"site-packages", b".py"):
        assert trace not in network


def test_opening_starts_no_runtime_and_never_torch() -> None:
    code = (
        "import sys\n"
        "from indexer.embedding.encoder import Encoder\n"
        "from indexer.embedding.models import shipped_model_dir\n"
        "encoder = Encoder.open(shipped_model_dir())\n"
        "assert not {'onnxruntime', 'PIL'} & set(sys.modules)\n"
        "import numpy as np\n"
        "encoder.encode([np.zeros((224, 224, 3), np.uint8)])\n"
        "assert not {'torch', 'onnx'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)


def test_the_runtime_leaves_no_trace_and_calls_nobody(tmp_path: Path) -> None:
    """Its wheels write a device id and a queue of events into the cache unless told not to."""
    code = (
        "import numpy as np\n"
        "from indexer.embedding.encoder import Encoder\n"
        "from indexer.embedding.models import shipped_model_dir\n"
        "encoder = Encoder.open(shipped_model_dir())\n"
        "encoder.encode([np.zeros((64, 96, 3), np.uint8)])\n"
    )
    environ = {
        **{k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"},
        "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_margin_of_paper_changes_nothing_that_the_shipped_model_says(encoder: Encoder) -> None:
    picture = drawing(5, (300, 240))
    views = [picture, *(ImageOps.expand(picture, margin, "white") for margin in (15, 35))]
    bare, *wide = encoder.encode([prepare(view, encoder.pixel_spec) for view in views]).vectors
    other = encoder.encode([prepare(drawing(6, (300, 240)), encoder.pixel_spec)]).vectors[0]
    assert all(float(bare @ vector) > 0.999 for vector in wide)
    assert float(bare @ other) < 0.999


def test_noise_is_further_out_of_the_training_distribution_than_drawings(encoder: Encoder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 480, 3), dtype=np.uint8)
    pictures = [prepare(Image.fromarray(noise), encoder.pixel_spec)]
    pictures += [prepare(washed(seed), encoder.pixel_spec) for seed in range(4)]
    strange, *drawn = encoder.encode(pictures).ood.tolist()
    assert strange > max(drawn) * 1.1 and min(drawn) > 0.5


def test_pictures_of_one_shape_share_a_pass_on_a_gpu() -> None:
    shapes = [(32, 64, 3), (64, 32, 3), (32, 64, 3), (4096, 4096, 3), (32, 64, 3), (4096, 4096, 3)]
    assert list(passes(shapes, together=True)) == [[0, 2, 4], [1], [3], [5]]
    assert list(passes(shapes, together=False)) == [[0], [1], [2], [3], [4], [5]]
    assert [len(rows) for rows in passes([(32, 32, 3)] * 150, together=True)] == [64, 64, 22]


def test_a_pass_of_several_pictures_keeps_their_order(
    encoder: Encoder, prepared: list[np.ndarray]
) -> None:
    """As on a GPU, by the same session on a CPU."""
    bulk, sizes = Encoder.open(shipped_model_dir(), bulk=True), []
    assert bulk.running_on is None
    session = encoder._started()

    def counted(batch: np.ndarray) -> Sequence[np.ndarray]:
        sizes.append(len(batch))
        return session(batch)

    bulk._session = OnGpu(counted)
    pictures = [prepared[0], prepared[1], np.ascontiguousarray(prepared[0][::-1])]
    found, wanted = bulk.encode(pictures), encoder.encode(pictures)
    assert sizes == [2, 1]
    assert (bulk.running_on, encoder.running_on) == ("cuda", "cpu")
    assert np.abs(found.vectors - wanted.vectors).max() < 1e-5
    assert found.ood == pytest.approx(wanted.ood, rel=1e-4)
    assert found.subjects is not None and wanted.subjects is not None
    assert np.abs(found.subjects - wanted.subjects).max() < 1e-5


def test_cuda_is_asked_for_and_not_there(prepared: list[np.ndarray]) -> None:
    import onnxruntime

    if encoder_module.CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(UsageError, match=r"encoder\.device is cuda"):
        Encoder.open(shipped_model_dir(), device="cuda").encode(prepared[:1])
