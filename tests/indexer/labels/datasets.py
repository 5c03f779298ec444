"""Labelled vectors whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from indexer.labels.calibration import LabelDataset
from schemas.records import LABEL_KINDS


def dataset(
    vectors: np.ndarray,
    title: np.ndarray,
    author: np.ndarray,
    genre: np.ndarray | None = None,
    era: np.ndarray | None = None,
) -> LabelDataset:
    """A dataset of distinct pictures whose labels are named by their numbers."""
    count = len(vectors)
    nothing = np.full(count, -1)
    codes = {
        "author": author,
        "genre": nothing if genre is None else genre,
        "era": nothing if era is None else era,
    }
    names = {
        kind: tuple(str(number) for number in range(int(of.max(initial=-1)) + 1))
        for kind, of in codes.items()
    }
    ood = np.full(count, np.nan, np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return LabelDataset(unit.astype(np.float32), np.arange(count), title, codes, names, ood)


def part_of(data: LabelDataset, chosen: np.ndarray) -> LabelDataset:
    """Some of the pictures; chosen (N,) bool or positions."""
    return replace(
        data,
        vectors=data.vectors[chosen],
        picture=data.picture[chosen],
        title=data.title[chosen],
        codes={kind: data.codes[kind][chosen] for kind in LABEL_KINDS},
        ood=data.ood[chosen],
    )


def artists(
    authors: int, titles: int, pictures: int, spread: float, seed: int = 3, dimension: int = 32
) -> LabelDataset:
    """Vectors around a centre for each author, and a smaller shift for each title."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((authors, 1, 1, dimension))
    shift = 0.5 * rng.standard_normal((authors, titles, 1, dimension))
    noise = spread * rng.standard_normal((authors, titles, pictures, dimension))
    author = np.repeat(np.arange(authors), titles * pictures)
    return dataset(
        (centre + shift + noise).reshape(-1, dimension),
        np.repeat(np.arange(authors * titles), pictures),
        author,
        author % 3,
        np.where(author % 2 == 0, author % 5, -1),
    )


def loud_titles(
    seed: int = 0, loud: float = 1.5, authors: int = 12, titles: int = 4, pictures: int = 10
) -> LabelDataset:
    """Authors who differ in quiet directions, while the loud ones belong to their titles."""
    rng = np.random.default_rng(seed)
    half = 12
    centre = np.zeros((authors, 1, 1, 2 * half))
    centre[..., :half] = rng.standard_normal((authors, 1, 1, half))
    book = np.zeros((authors, titles, 1, 2 * half))
    book[..., half:] = loud * rng.standard_normal((authors, titles, 1, half))
    noise = rng.standard_normal((authors, titles, pictures, 2 * half)) * 0.6
    author = np.repeat(np.arange(authors), titles * pictures)
    title = np.repeat(np.arange(authors * titles), pictures)
    vectors = (centre + book + noise).reshape(-1, 2 * half).astype(np.float32)
    return replace(dataset(vectors, title, author, author % 3), vectors=vectors)
