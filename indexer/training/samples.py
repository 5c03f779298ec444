"""What training shows and what it keeps aside: batches across series, authors never shown."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import nn

from indexer.embedding.preprocess import PixelSpec, prepare
from indexer.training.augmentation import augmented
from indexer.training.data import Benchmark, Classes, several_series
from indexer.training.evaluation.metrics import Gallery, near_duplicates, query_figures
from schemas.errors import InputError
from schemas.images import PictureError, PictureLimits, decode_picture, grey_thumbnail

MIN_SEVERAL = 6
UNSEEN_SHARE = 0.25
MIN_UNSEEN = 3
MAX_LOOKED_AT = 800
"""Pictures of unseen authors that a look takes."""


def unseen_authors(bench: Benchmark, seed: int) -> frozenset[str]:
    """Authors with several series that no training step will see.

    Errors:  InputError when there are too few to spare any
    """
    several = several_series(bench.manifest) & (bench.manifest.authors != "")
    names = np.unique(bench.manifest.authors[several])
    if len(names) < MIN_SEVERAL:
        raise InputError(
            f"{len(names)} authors have two series or more; at least {MIN_SEVERAL} are needed, "
            f"{MIN_UNSEEN} of them to measure on",
            "Style is measured between works: name the series of each picture.",
        )
    count = max(MIN_UNSEEN, round(UNSEEN_SHARE * len(names)))
    chosen = np.random.default_rng(seed).choice(names, count, replace=False)
    return frozenset(str(name) for name in chosen)


@dataclass
class Samples:
    """A benchmark with its classes, divided; `train` and `looked_at` are rows of it."""

    bench: Benchmark
    classes: Classes
    unseen: frozenset[str]
    train: np.ndarray = field(init=False)
    looked_at: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        aside = np.isin(self.bench.manifest.authors, sorted(self.unseen))
        self.train, looked = np.flatnonzero(~aside), np.flatnonzero(aside)
        step = max(1, -(-len(looked) // MAX_LOOKED_AT))
        self.looked_at = looked[::step]
        code = self.classes.author[self.train]
        self._rows = {int(c): self.train[code == c] for c in np.unique(code[code >= 0])}
        if len(self._rows) < 2:
            raise InputError(
                "fewer than two authors are left to learn from",
                "Lower --min-pictures-per-author, or add pictures.",
            )
        sizes = np.array([len(rows) for rows in self._rows.values()], float)
        self._chance = np.sqrt(sizes) / np.sqrt(sizes).sum()
        self._loose = self.train[code < 0]  # no author's class, but perhaps a genre or a year
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="augment")
        self._looked: list[np.ndarray] = []
        self._copies: np.ndarray | None = None

    def picture(self, row: int) -> Image.Image:
        """Errors:  InputError when it cannot be decoded"""
        name = self.bench.manifest.paths[row]
        try:
            data = (self.bench.manifest.root / name).read_bytes()
            return decode_picture(data, PictureLimits())
        except (OSError, PictureError) as error:
            raise InputError(f"{name}: {error}") from error

    def batch(
        self, number: int, authors: int, each: int, seed: int, spec: PixelSpec
    ) -> tuple[np.ndarray, np.ndarray]:
        """The batch of a step: always the same for the same number, so that a resumed run
        sees what an undisturbed one does.

        Shapes:  -> rows (B,), pixels (B, H, W, 3) uint8
        """
        rng = np.random.default_rng([seed, number])
        names = list(self._rows)
        size = min(authors, len(names))
        chosen = rng.choice(len(names), size, replace=False, p=self._chance)
        rows = [row for place in chosen for row in self._across(names[int(place)], each, rng)]
        if len(self._loose):
            rows += rng.choice(self._loose, min(each, len(self._loose)), replace=False).tolist()
        seeds = rng.integers(0, 2**31, len(rows))

        def load(job: tuple[int, int]) -> np.ndarray:
            return augmented(self.picture(job[0]), spec, np.random.default_rng(job[1]))

        pixels = list(self._pool.map(load, zip(rows, seeds.tolist(), strict=True)))
        return np.array(rows), np.stack(pixels)

    def _across(self, author: int, each: int, rng: np.random.Generator) -> list[int]:
        """Pictures of an author, in turn from its series."""
        rows = rng.permutation(self._rows[author])
        series = self.classes.series[rows]
        turn = np.zeros(len(rows), int)
        for one in np.unique(series):
            own = np.flatnonzero(series == one)
            turn[own] = np.arange(len(own))
        return [int(row) for row in rows[np.argsort(turn, kind="stable")][:each]]

    def shares(self, kind: str) -> tuple[np.ndarray, torch.Tensor]:
        """Classes of a kind as shares, and each class's weight: rare ones count more.

        Shapes:  -> (N, C), (C,)
        """
        count = max(1, len(self.classes.names[kind]))
        if kind == "genre":
            shares = (
                self.classes.genre
                if self.classes.genre.shape[1]
                else (np.zeros((len(self.bench), 1), np.float32))
            )
        else:
            codes = self.classes.author if kind == "author" else self.classes.era
            shares = np.zeros((len(codes), count), np.float32)
            has = codes >= 0
            shares[has, codes[has]] = 1.0
        size = np.maximum(shares[self.train].sum(0), 1.0)
        weight = 1.0 / np.sqrt(size)
        return shares, torch.from_numpy((weight / weight.mean()).astype(np.float32))

    def unseen_r_at_1(self, network: nn.Module, spec: PixelSpec, device: torch.device) -> float:
        """R@1 among the authors that no step sees, own series masked."""
        if not self._looked:
            images = [self.picture(int(row)) for row in self.looked_at]
            self._looked = [prepare(image, spec).pixels for image in images]
            self._copies = near_duplicates(np.stack([grey_thumbnail(image) for image in images]))
        vectors = []
        with torch.inference_mode():
            for pixels in self._looked:
                batch = torch.from_numpy(pixels.copy())[None].to(device)
                vectors.append(network(batch)[0].float().cpu().numpy())
        return self.r_at_1(np.stack(vectors))

    def r_at_1(self, vectors: np.ndarray) -> float:
        """R@1 of vectors of `looked_at`; (L, D)."""
        if self._copies is None:
            greys = [grey_thumbnail(self.picture(int(row))) for row in self.looked_at]
            self._copies = near_duplicates(np.stack(greys))
        manifest, rows = self.bench.manifest, self.looked_at
        figures = query_figures(
            Gallery.plain(vectors), manifest.authors[rows], manifest.series[rows], self._copies
        )
        return float(figures.right_at_1.mean()) if len(figures.rows) else 0.0
