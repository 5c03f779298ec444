"""Prepared pictures of a benchmark in one file that is mapped: each is decoded once for all steps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from indexer.embedding.preprocess import PixelSpec, prepare
from indexer.training.data import Benchmark
from indexer.training.features import pictures_of
from schemas.progress import Progress
from schemas.storage.fsio import storage_error


class PreparedPictures:
    """Pictures as the network takes them, by their row in a benchmark.

    The file is made in `folder` unless it is there, and replaced as one; `digest` names the
    pictures and the spec.

    Errors:  InputError when a picture cannot be used, StorageError when the disk refuses
    """

    def __init__(
        self,
        bench: Benchmark,
        spec: PixelSpec,
        folder: Path,
        digest: str,
        progress: Progress | None = None,
    ) -> None:
        self._file = folder / f"pixels-{digest}-{spec.digest[:8]}.bin"
        places = self._file.with_suffix(".npy")
        if not (self._file.is_file() and places.is_file()):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._write(bench, spec, places, progress)
            except OSError as error:
                raise storage_error(error, f"the prepared pictures in {folder}") from error
        self._places = np.load(places, allow_pickle=False)
        self._bytes = np.memmap(self._file, np.uint8, "r")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> np.ndarray:
        """One picture. Shapes:  -> (H, W, 3) uint8, read-only"""
        start, height, width = self._places[row]
        return np.asarray(self._bytes[start : start + 3 * height * width]).reshape(height, width, 3)

    def _write(
        self, bench: Benchmark, spec: PixelSpec, places: Path, progress: Progress | None
    ) -> None:
        aside, at = self._file.with_suffix(f".{os.getpid()}.tmp"), 0
        found = np.empty((len(bench), 3), np.int64)
        try:
            with aside.open("wb") as file:
                for row, image in enumerate(pictures_of(bench, spec.decode_px)):
                    pixels = prepare(image, spec)
                    found[row] = at, *pixels.shape[:2]
                    at += file.write(pixels.tobytes())
                    if progress:
                        progress(row + 1, len(bench), "preparing")
            with places.open("wb") as file:
                np.save(file, found, allow_pickle=False)
            aside.replace(self._file)
        finally:
            aside.unlink(missing_ok=True)
