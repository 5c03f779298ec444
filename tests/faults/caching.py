"""Arithmetic that every trial would do again on the same few pictures, done once.

Fitting the calibration and heads, laying out the map and running the network take five sixths of a
trial and touch no file. Results are cached outside the data root, under a digest of all that goes in; nothing that
reads or writes files is replaced.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def cache_arithmetic(folder: Path) -> None:
    """Cache the costly parts of a build in a folder, from here on and in forks."""
    from indexer import style_map
    from indexer.embedding import encoder
    from indexer.labels import predict

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("eigh", "inv", "cholesky"):
        setattr(np.linalg, name, _cached(folder, name, getattr(np.linalg, name)))
    predict.fit = _cached(folder, "fit", predict.fit)
    style_map.lay_out = _cached(folder, "map", style_map.lay_out)
    start = encoder.start_onnxruntime

    def started(
        data: bytes, threads: int, spin: bool, outputs: Any = None, **more: Any
    ) -> Callable[[Any], Any]:
        """The network of these (already verified) bytes, started when something is new to it."""
        digest = hashlib.sha256(data).hexdigest()
        session: list[Callable[[Any], Any]] = []

        def run(pixels: Any) -> Any:
            if not session:
                session.append(start(data, threads, spin, outputs, **more))
            return session[0](pixels)

        return _cached(folder, f"network-{digest}", run)

    encoder.start_onnxruntime = started


def _cached(folder: Path, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def cached(*args: Any, **named: Any) -> Any:
        path = folder / f"{name}-{hashlib.sha256(pickle.dumps((args, named))).hexdigest()}"
        if not path.exists():
            aside = path.with_name(f"{path.name}.{os.getpid()}")
            aside.write_bytes(pickle.dumps(real(*args, **named)))
            aside.replace(path)
        return pickle.loads(path.read_bytes())

    return cached
