"""What a GPU does here: one script of at most eight minutes (`make gpu-check`).

Copies 10 and 50 million generated vectors to the GPUs and searches them, lays out lists there,
encodes 20,000 pictures, compares a sample with the CPU's answers, and writes JSON. It uses the
packages that it finds: FAISS with GPUs and ONNX Runtime with CUDA are what the product uses; where
they are missing, torch scans and encodes in their place, and the JSON says so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.figures import machine

MOST_S = 470.0
K = 10
MORE = 32
TIE = 1e-5
BLOCK_ROWS = 1 << 20
SIDES = ((352, 288), (288, 352), (352, 352), (352, 256))


class LeftOut(Exception):
    """A part cannot run here; the text says for want of what."""


@dataclass(frozen=True)
class Size:
    """How much is done. `vectors` are the sizes of the indexes that are searched, ascending."""

    vectors: tuple[int, ...] = (10_000_000, 50_000_000)
    dimension: int = 256
    queries: int = 1000
    compared: int = 16
    listed: int = 1_000_000
    pictures: int = 20_000


SMALL = Size((3000, 6000), 32, 40, 8, 2000, 4)


@dataclass
class Results:
    """Figures by part, and why parts were left out or failed."""

    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def generated(count: int, dimension: int) -> np.ndarray:
    """Unit vectors without structure: one random block, its numbers moved on and their signs
    changed for each further block, which is as quick as copying. -> (N, D) float16"""
    rng = np.random.default_rng(5)
    base = rng.standard_normal((min(count, BLOCK_ROWS), dimension), np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    halves, made = base.astype(np.float16), np.empty((count, dimension), np.float16)
    for number, start in enumerate(range(0, count, BLOCK_ROWS)):
        signs = rng.choice(np.array([-1, 1], np.float16), dimension) if number else np.float16(1)
        part = made[start : start + BLOCK_ROWS]
        np.multiply(np.roll(halves[: len(part)], number, axis=1), signs, out=part)
    return made


def asked_of(vectors: np.ndarray, count: int) -> np.ndarray:
    """Stored vectors with noise of half their length, as queries; -> (Q, D) float32 unit"""
    rng = np.random.default_rng(6)
    rows = vectors[rng.integers(0, len(vectors), count)].astype(np.float32)
    noise = rng.standard_normal(rows.shape, np.float32) * 0.5 / rows.shape[1] ** 0.5
    rows += noise
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def compared(
    vectors: np.ndarray, queries: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The K nearest of some places, by the half floats; (Q, D), (Q, L) -> (Q, K) twice"""
    places = np.sort(places, axis=1)
    score = (vectors[places].astype(np.float32) @ queries[:, :, None])[:, :, 0]
    order = np.argsort(-score, axis=1, kind="stable")[:, :K]
    return np.take_along_axis(score, order, 1), np.take_along_axis(places, order, 1)


def agreement(
    found: tuple[np.ndarray, np.ndarray], wanted: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float]:
    """Shares of places with the same id, and with the same one or an equally near one."""
    same = found[1] == wanted[1]
    return float(same.mean()), float((same | (np.abs(found[0] - wanted[0]) <= TIE)).mean())


def torch_device() -> str:
    """Errors:  LeftOut without torch"""
    try:
        import torch
    except ImportError as error:
        raise LeftOut("torch is not installed") from error
    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_search(vectors: np.ndarray, device: str) -> Callable[[np.ndarray], Any]:
    """An exact scan as products of matrices. The answer: (Q, D) -> (Q, K) twice"""
    import torch

    # Half floats are slow on a CPU, which only tests this.
    kind = torch.float16 if device == "cuda" else torch.float32
    parts = [
        torch.from_numpy(vectors[start : start + BLOCK_ROWS]).to(device, kind)
        for start in range(0, len(vectors), BLOCK_ROWS)
    ]

    def search(queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked = torch.from_numpy(queries).to(device, kind)
        scores, places, start = [], [], 0
        for part in parts:
            score, place = torch.topk(asked @ part.T, min(K + MORE, len(part)), dim=1)
            scores.append(score)
            places.append(place + start)
            start += len(part)
        _, order = torch.topk(torch.cat(scores, 1), min(K + MORE, start), dim=1)
        return compared(vectors, queries, torch.cat(places, 1).gather(1, order).cpu().numpy())

    return search


def gpus_of_faiss() -> int:
    """Errors:  LeftOut without FAISS"""
    try:
        return int(importlib.import_module("indexer.vector_index.faiss_index").gpus_for("auto"))
    except ImportError as error:
        raise LeftOut(f"{error.name} is not installed") from error


def search_part(vectors: np.ndarray, size: Size, by: str) -> dict[str, Any]:
    """Copy vectors to the GPUs and search them there, by faiss or torch; sampled against a CPU."""
    queries = asked_of(vectors, size.queries)
    started = time.perf_counter()
    if by == "faiss":
        gpus = gpus_of_faiss()
        if not gpus and size is not SMALL:
            raise LeftOut("FAISS sees no GPU")
        from indexer.vector_index.faiss_index import index_of

        index = index_of(vectors, np.arange(len(vectors)))
        # Without a GPU the same code searches parts that stay where they are.
        index.scan_on(gpus or 2, None if gpus else lambda part, gpu: part)
        if index.trouble:
            raise RuntimeError(index.trouble)
        device = "cuda" if gpus else "cpu"

        def search(asked: np.ndarray) -> Any:
            found = index.search(asked, K)
            if index.trouble:
                raise RuntimeError(index.trouble)
            return found
    else:
        device = torch_device()
        if device == "cpu" and size is not SMALL:
            raise LeftOut("torch sees no GPU")
        search = torch_search(vectors, device)
    copied = time.perf_counter() - started
    search(queries[:1])  # starts what starts late
    started = time.perf_counter()
    found = search(queries)
    many = time.perf_counter() - started
    single = []
    for row in range(20):
        started = time.perf_counter()
        search(queries[row : row + 1])
        single.append(time.perf_counter() - started)
    figures = {
        "device": device,
        "vectors": len(vectors),
        "copy_s": copied,
        "queries_per_s": len(queries) / many,
        "one_query_ms": 1e3 * float(np.median(single)),
    }
    if device == "cuda" and (scan := memory_scan_s(vectors.nbytes)):
        figures["one_query_over_one_scan_of_memory"] = float(np.median(single)) / scan
    del search  # frees the GPU before the CPU's turn
    sample = slice(0, size.compared)
    wanted = on_cpu(vectors, queries[sample])
    ids, ties = agreement((found[0][sample], found[1][sample]), wanted)
    return figures | {"same_ids": ids, "same_but_for_ties": ties}


def memory_scan_s(nbytes: int) -> float | None:
    """Seconds in which the GPU reads so many bytes, by the rate of reading four gigabytes."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available() or torch.cuda.mem_get_info()[0] < 6 << 30:
        return None
    block = torch.ones(1 << 30, device="cuda", dtype=torch.float32)
    took = []
    for _ in range(5):
        torch.cuda.synchronize()
        started = time.perf_counter()
        block.max().item()
        took.append(time.perf_counter() - started)
    del block
    torch.cuda.empty_cache()
    return min(took) * nbytes / (4 << 30)


def on_cpu(vectors: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the CPU finds: FAISS where it is installed; -> (Q, K) twice"""
    try:
        from indexer.vector_index.faiss_index import index_of

        return index_of(vectors, np.arange(len(vectors))).search(queries, K)
    except ImportError:
        best: list[np.ndarray] = []
        for start in range(0, len(vectors), BLOCK_ROWS):
            score = queries @ vectors[start : start + BLOCK_ROWS].astype(np.float32).T
            best.append(np.argpartition(-score, min(K, score.shape[1] - 1))[:, :K] + start)
        return compared(vectors, queries, np.concatenate(best, 1))


def lists_part(vectors: np.ndarray, size: Size) -> dict[str, Any]:
    """Seconds to lay out lists and sort the vectors in, with and without a GPU."""
    gpus = gpus_of_faiss()
    if not gpus and size is not SMALL:
        raise LeftOut("FAISS sees no GPU")
    from indexer.vector_index.faiss_index import SearchPlan, index_of, write_candidates
    from indexer.vector_index.recall import lists_for

    some = vectors[: size.listed]
    index = index_of(some, np.arange(len(some)))
    plan = SearchPlan("ivf", lists_for(len(some)), trained_on=len(some))
    figures: dict[str, Any] = {"vectors": len(some), "lists": plan.lists}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cpu_s", "gpu_s"):
            copy = None if gpus else lambda part, gpu: part
            if name == "gpu_s":
                index.scan_on(gpus or 1, copy)
            started = time.perf_counter()
            write_candidates(index, Path(folder) / name, plan, 1, None, copy=copy)
            figures[name] = time.perf_counter() - started
    if index.trouble:
        raise RuntimeError(index.trouble)
    return figures | {"device": "cuda" if gpus else "cpu"}


def drawn(count: int) -> list[np.ndarray]:
    """Decoded pictures of four shapes, count of them from 64; (H, W, 3) uint8 each"""
    rng = np.random.default_rng(7)
    some = [
        np.repeat(np.repeat(rng.integers(0, 256, (h // 8, w // 8, 3), np.uint8), 8, 0), 8, 1)
        for h, w in (SIDES[number % len(SIDES)] for number in range(min(count, 64)))
    ]
    return [some[number % len(some)] for number in range(count)]


def encode_part(size: Size, by: str) -> dict[str, Any]:
    """Pictures a second that are decoded already; by onnxruntime, as `toonsearch embed`, or by
    torch in bfloat16. Compared with vectors from the CPU."""
    try:
        import onnxruntime

        from indexer.embedding.encoder import CUDA, Encoder, OnGpu
        from indexer.embedding.models import shipped_model_dir
    except ImportError as error:
        raise LeftOut(f"{error.name} is not installed") from error
    pictures = drawn(size.pictures)
    few = pictures[: size.compared]
    wanted = Encoder.open(shipped_model_dir(), device="cpu").encode(few).vectors
    if by == "onnxruntime":
        if CUDA not in onnxruntime.get_available_providers() and size is not SMALL:
            raise LeftOut("ONNX Runtime has no CUDA (onnxruntime-gpu)")
        encoder = Encoder.open(shipped_model_dir(), bulk=True)
        found = encoder.encode(few).vectors
        session = encoder._started()
        device = "cuda" if isinstance(session, OnGpu) else "cpu"
        if device == "cpu" and size is not SMALL:
            raise LeftOut("ONNX Runtime has CUDA but does not start on a GPU")

        def encode(some: Sequence[np.ndarray]) -> object:
            return encoder.encode(some)

        def bare(batch: np.ndarray) -> object:
            return session(batch)
    else:
        device = torch_device()
        if device == "cpu" and size is not SMALL:
            raise LeftOut("torch sees no GPU")
        try:
            from bench.torch_query import torch_encoder
        except ImportError as error:
            raise LeftOut(f"{error.name} is not installed") from error
        import torch

        network = torch_encoder(shipped_model_dir())[0].to(device)

        def bare(batch: np.ndarray) -> Any:
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
                return network(torch.from_numpy(batch).to(device))[0].float().cpu().numpy()

        def encode(some: Sequence[np.ndarray]) -> Any:
            from indexer.embedding.encoder import passes

            rows = list(passes([one.shape for one in some], together=True))
            made = np.concatenate([bare(np.stack([some[at] for at in each])) for each in rows])
            return made[np.argsort(np.concatenate(rows), kind="stable")]

        found = encode(few)
    batch = np.stack(pictures[:: len(SIDES)][:64])
    started = time.perf_counter()
    step = 1024
    for start in range(0, len(pictures), step):
        encode(pictures[start : start + step])
    rate = len(pictures) / (time.perf_counter() - started)
    bare(batch)
    started, times = time.perf_counter(), 1 if size is SMALL else 20
    for _ in range(times):
        bare(batch)
    bare_rate = times * len(batch) / (time.perf_counter() - started)
    return {
        "device": device,
        "pictures": len(pictures),
        "pictures_per_s": rate,
        "bare_network_per_s": bare_rate,
        "over_bare_network": rate / bare_rate,
        "least_cosine_to_cpu": float((found * wanted).sum(axis=1).min()),
    }


def measure(size: Size, without: Sequence[str] = (), most_s: float = MOST_S) -> Results:
    """Every part that can run here, is not among those `without`, and begins before three quarters
    of the time are over."""
    results, started = Results(), time.perf_counter()

    def part(name: str, run: Callable[[], dict[str, Any]]) -> None:
        try:
            if name in without:
                raise LeftOut("as asked")
            if time.perf_counter() - started > 0.75 * most_s:
                raise LeftOut(f"less than a quarter of {most_s:.0f} s is left")
            results.figures[name] = run()
        except LeftOut as error:
            results.left_out[name] = str(error)
        except Exception as error:  # one part says what went wrong, the others run
            results.failed[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        told = results.figures.get(name) or results.left_out.get(name) or results.failed[name]
        print(f"{time.perf_counter() - started:6.0f} s  {name}: {told}", flush=True)

    def has(name: str) -> bool:
        return results.figures.get(name, {}).get("device") == "cuda"

    def both(name: str, run: Callable[[str], dict[str, Any]], ours: str) -> None:
        """By what the product uses, and by torch where that found no GPU."""
        part(f"{name}_{ours}", lambda: run(ours))
        if not has(f"{name}_{ours}"):
            part(f"{name}_torch", lambda: run("torch"))

    both("encode", lambda by: encode_part(size, by), "onnxruntime")
    vectors = np.empty((0, size.dimension), np.float16)
    for count in size.vectors:
        name = f"search_{count}"
        if (need := 1.3 * count * size.dimension * 2) > free_bytes():
            results.left_out[name] = f"{need / 1e9:.0f} GB of memory are not free"
            continue
        if not any(can() for can in (_faiss_has_gpu, _torch_has_gpu)) and size is not SMALL:
            results.left_out[name] = "neither FAISS nor torch sees a GPU"
            continue
        vectors = np.empty((0, size.dimension), np.float16)  # lets go of the smaller ones
        vectors = generated(count, size.dimension)
        both(name, lambda by, vectors=vectors: search_part(vectors, size, by), "faiss")  # type: ignore[misc]
        if count == size.vectors[0]:
            part("lists", lambda vectors=vectors: lists_part(vectors, size))  # type: ignore[misc]
    return results


def _faiss_has_gpu() -> bool:
    try:
        return gpus_of_faiss() > 0
    except LeftOut:
        return False


def _torch_has_gpu() -> bool:
    try:
        return torch_device() == "cuda"
    except LeftOut:
        return False


def free_bytes() -> int:
    """Memory that a process may still take, without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code is 4 when a part failed or its answers differ from the CPU's."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--small", action="store_true", help="tiny sizes, on a CPU where need be")
    parser.add_argument("--out", type=Path, default=Path("bench/results/gpu.json"))
    parser.add_argument("--without", nargs="+", default=(), help="parts, such as encode_torch")
    options = parser.parse_args(arguments)
    size = SMALL if options.small else Size()
    results = measure(size, options.without)
    differ = [
        name
        for name, part in results.figures.items()
        if part.get("same_but_for_ties", 1.0) < 1.0 or part.get("least_cosine_to_cpu", 1.0) < 0.99
    ]
    body = {
        "machine": machine(),
        "small": options.small,
        "on_gpu": [n for n, part in results.figures.items() if part["device"] == "cuda"],
        "figures": results.figures,
        "left_out": results.left_out,
        "failed": results.failed,
        "differ_from_cpu": differ,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(body, indent=1) + "\n")
    print(f"written to {options.out}")
    return 4 if differ or results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
