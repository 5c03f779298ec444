"""Label heads: from a style vector to the likelihood of each author, genre or era.

A head is a Gaussian model in closed form. Each label has a centre; its titles scatter around
that, and the pictures of a title around the title. Both scatters are learnt from all labels
together, so that an author with one short book is trusted less than one with five.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from indexer.vector_index.ranking import BLOCK_ROWS, group_sums
from schemas.errors import NoIndexError
from schemas.records import LABEL_KINDS
from schemas.storage.fsio import digest_bytes, read_verified, write_file

RIDGE = 1.0
"""Share of the mean within-label variance that is added to each direction of it."""
TITLE_CAP = 20
"""A title counts with at most this many pictures: the next ones add little."""
TITLE_SHARE = 0.25
"""Share of the variance within a label that lies between titles, where no label has two."""
SCATTER_ROWS = 100_000
"""How the pictures of a title vary is learnt from about so many, of titles spread over all."""
BETWEEN_FLOOR = 1e-3
MIN_LABELS = 2
MAX_LABELS = 20_000
"""With more labels a head costs more than it adds to the neighbours' vote."""


@dataclass(frozen=True)
class Head:
    """One kind of label. Scores are log-likelihoods up to a constant for each picture.

    Shapes:  center (D,), basis (D, E), square, linear (C, E), constant (C,), between (E,)
    """

    center: np.ndarray
    basis: np.ndarray
    square: np.ndarray
    linear: np.ndarray
    constant: np.ndarray
    between: np.ndarray

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """Log-likelihood of each label, -inf where it has no picture; (N, D) -> (N, C)"""
        x = (vectors - self.center) @ self.basis
        return np.asarray(x @ self.linear.T - (x * x) @ self.square.T + self.constant)

    def unseen(self, vectors: np.ndarray) -> np.ndarray:
        """Log-likelihood of a label that was never seen, on the scale of `scores`.

        Shapes:  (N, D) -> (N,)
        """
        x, wide = (vectors - self.center) @ self.basis, 1.0 + self.between
        return np.asarray(-0.5 * ((x * x) @ (1.0 / wide) + np.log(wide).sum()))


def fit_head(vectors: np.ndarray, codes: np.ndarray, titles: np.ndarray, count: int) -> Head | None:
    """Fit a head; None where there are less than two labels, or only copies.

    The variance within a title, between titles and between labels are estimated by moments;
    the first two are made the unit by a linear map, in which the third is diagonal.

    Shapes:  vectors (N, D), codes (N,) int below `count` or -1, titles (N,) int
    Source:  Ioffe 2006 (probabilistic linear discriminant analysis), with a second level
    """
    used = codes >= 0
    present = np.unique(codes[used])
    if len(present) < MIN_LABELS or count > MAX_LABELS:
        return None
    rows = np.flatnonzero(used)
    center = sum(block.sum(0, dtype=np.float64) for _, block in _blocks(vectors, rows)) / len(rows)
    center = np.asarray(center, np.float32)
    parts = _title_means(vectors, rows, center, codes[used], titles[used])
    within, between_titles, share = _scatter(vectors, rows, center, parts)
    total = within + between_titles
    size = float(np.trace(total)) / len(total)
    if not size > 0:  # copies only
        return None
    whiten = np.linalg.cholesky(np.linalg.inv(total + RIDGE * size * np.eye(len(total))))

    weight = np.minimum(parts.counts, TITLE_CAP).astype(np.float64)
    sums = _by_label(parts, parts.means * weight[:, None], count)
    centres = sums / np.maximum(_by_label(parts, weight, count), 1e-9)[:, None] @ whiten
    many = np.maximum(_by_label(parts, np.ones(len(weight)), count), 1.0)
    pictures = np.maximum(_by_label(parts, parts.counts.astype(np.float64), count), 1.0)
    doubt = (share + (1.0 - share) * many / pictures) / many  # (C,)

    values, axes = np.linalg.eigh(np.atleast_2d(np.cov(centres[present].T)))
    rank = min(len(present) - 1, len(values))
    values, axes = values[::-1][:rank], axes[:, ::-1][:, :rank]
    between = np.maximum(values - doubt[present].mean() / (1.0 + RIDGE), BETWEEN_FLOOR)
    gain = between / (between + doubt[:, None])  # (C, E)
    mean, precision = gain * (centres @ axes), 1.0 / (1.0 + gain * doubt[:, None])
    constant = 0.5 * (np.log(precision) - mean * mean * precision).sum(1)
    constant[np.setdiff1d(np.arange(count), present)] = -np.inf
    arrays = (center, whiten @ axes, 0.5 * precision, mean * precision, constant, between)
    return Head(*(np.ascontiguousarray(part, np.float32) for part in arrays))


@dataclass(frozen=True)
class _Titles:
    """Each title of each label. Shapes: means (P, D), labels (P,), counts (P,), of (N,)"""

    means: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    of: np.ndarray


def _blocks(
    vectors: np.ndarray, rows: np.ndarray, center: np.ndarray | float = 0.0
) -> Iterator[tuple[slice, np.ndarray]]:
    """Some rows less the centre, a part at a time: all of them may not fit into memory.

    Shapes:  rows (M,) -> a part of them with its vectors (B, D) float32
    """
    for start in range(0, len(rows), BLOCK_ROWS):
        part = slice(start, min(start + BLOCK_ROWS, len(rows)))
        yield part, np.asarray(vectors[rows[part]], np.float32) - center


def _title_means(
    vectors: np.ndarray,
    rows: np.ndarray,
    center: np.ndarray,
    codes: np.ndarray,
    titles: np.ndarray,
) -> _Titles:
    pairs, of = np.unique(np.stack([codes, titles], 1), axis=0, return_inverse=True)
    of = of.reshape(-1)
    counts = np.bincount(of)
    means = group_sums(vectors, of, len(pairs), rows) / counts[:, None] - center
    return _Titles(means, pairs[:, 0], counts, of)


def _by_label(parts: _Titles, values: np.ndarray, size: int) -> np.ndarray:
    """Sums over the titles of each label; (P, ...) -> (C, ...)."""
    total = np.zeros((size, *values.shape[1:]))
    np.add.at(total, parts.labels, values)
    return total


def _scatter(
    vectors: np.ndarray, rows: np.ndarray, center: np.ndarray, parts: _Titles
) -> tuple[np.ndarray, np.ndarray, float]:
    """Covariance within titles and between the titles of a label, and the latter's share."""
    several = parts.counts > 1
    several[np.arange(len(several)) % (len(rows) // SCATTER_ROWS + 1) > 0] = False
    weight = np.zeros(len(parts.counts))
    capped = np.minimum(parts.counts, TITLE_CAP)
    weight[several] = capped[several] / (parts.counts[several] - 1.0)
    within = np.zeros((len(center), len(center)))
    some = np.flatnonzero(several[parts.of])
    means, root = np.asarray(parts.means, np.float32), np.sqrt(weight).astype(np.float32)
    for part, x in _blocks(vectors, rows[some], center):
        of = parts.of[some[part]]
        rest = (x - means[of]) * root[of, None]
        within += rest.T @ rest
    within /= max(1.0, float(capped[several].sum()))
    size = parts.labels.max() + 1
    many = _by_label(parts, np.ones(len(parts.counts)), size)
    middle = _by_label(parts, parts.means, size) / np.maximum(many, 1.0)[:, None]
    apart = (parts.means - middle[parts.labels])[many[parts.labels] > 1]
    freedom = float((many - 1.0)[many > 1].sum())
    if not np.trace(within) > 0:  # one picture a title: all that varies is between them
        if freedom:
            within = apart.T @ apart / freedom
        else:
            every = (x.T @ x for _, x in _blocks(vectors, rows, center))
            within = np.asarray(sum(every) / len(rows), np.float64)
        return within, np.zeros_like(within), 1.0
    if not freedom:
        return within, within * (TITLE_SHARE / (1.0 - TITLE_SHARE)), TITLE_SHARE
    between = apart.T @ apart / freedom
    noise = float(np.trace(within)) * float((1.0 / parts.counts).mean())
    trace = max(float(np.trace(between)) - noise, 0.02 * float(np.trace(within)))
    between = between * (trace / max(float(np.trace(between)), 1e-12))
    return within, between, trace / (trace + float(np.trace(within)))


# --- Files: `heads.json` names the labels, `heads.safetensors` holds the numbers. Neither can run
# code when it is read, and the digest of the numbers is checked before they are parsed.

LABELS_FOLDER = "labels"
HEADS_FILE = "heads.json"
TENSORS_FILE = "heads.safetensors"
TENSORS = ("center", "basis", "square", "linear", "constant", "between")
FORMAT_VERSION = 2
MAX_BYTES = 1 << 30
HINT = "Build the index again, or train the model again."


class LabelSet(NamedTuple):
    """The labels of one kind in the order of their codes, and how many pictures carry each."""

    names: tuple[str, ...]
    counts: tuple[int, ...]


def write_heads(folder: Path, labels: Mapping[str, LabelSet], heads: Mapping[str, Head]) -> None:
    """Write both files into `labels/` of a folder that the caller owns.

    Errors:  OSError
    """
    from safetensors.numpy import save

    data = save(
        {f"{kind}.{name}": getattr(head, name) for kind, head in heads.items() for name in TENSORS}
    )
    body = {
        "format_version": FORMAT_VERSION,
        "labels": {kind: one._asdict() for kind, one in labels.items()},
        "heads": sorted(heads),
        "file": {"bytes": len(data), "blake3": digest_bytes(data)},
    }
    text = json.dumps(body, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    write_file(folder / LABELS_FOLDER / TENSORS_FILE, data)
    write_file(folder / LABELS_FOLDER / HEADS_FILE, text.encode())


def has_heads(folder: Path) -> bool:
    """Whether a generation's or a model's folder carries heads."""
    return (folder / LABELS_FOLDER / HEADS_FILE).is_file()


def read_heads(folder: Path) -> tuple[dict[str, LabelSet], dict[str, Head]]:
    """Read and check the heads in `labels/` of a folder.

    Errors:  NoIndexError when they are missing, damaged or of another format
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / LABELS_FOLDER / HEADS_FILE
    tensors = path.with_name(TENSORS_FILE)
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
        if body["format_version"] != FORMAT_VERSION:
            raise NoIndexError(f"{path} has format {body['format_version']!r}", HINT)
        data = read_verified(tensors, body["file"], MAX_BYTES)
        labels = dict(_label_sets(body["labels"]))
        return labels, dict(_checked(load(data), body["heads"], labels))
    except OSError as error:
        raise NoIndexError(f"{path}: {error.strerror or error}", HINT) from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoIndexError(f"{path}: the heads cannot be used ({error})", HINT) from error


def _label_sets(raw: Mapping[str, Any]) -> Iterator[tuple[str, LabelSet]]:
    for kind, one in raw.items():
        names, counts = tuple(map(str, one["names"])), tuple(map(int, one["counts"]))
        if kind not in LABEL_KINDS or len(names) != len(counts) or min(counts, default=0) < 0:
            raise ValueError(f"labels of kind {kind!r}")
        yield kind, LabelSet(names, counts)


def _checked(
    tensors: Mapping[str, np.ndarray], kinds: list[str], labels: Mapping[str, LabelSet]
) -> Iterator[tuple[str, Head]]:
    for kind in kinds:
        head = Head(*(tensors[f"{kind}.{name}"] for name in TENSORS))
        count, (width, rank) = len(labels[kind].names), head.basis.shape
        found = [getattr(head, name).shape for name in TENSORS]
        if found != [(width,), (width, rank), (count, rank), (count, rank), (count,), (rank,)]:
            raise ValueError(f"the {kind} head has the wrong shape")
        yield kind, head
