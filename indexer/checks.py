"""What a generation proves about itself before anyone may publish it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.grey_lengths import CatalogInGrey
from indexer.questions import Question, nearest
from indexer.rows import IndexRows

FULL_SELF_FIND = 10_000
"""Up to this many pictures every one must find itself through FAISS; above, a sample does
(each costs a scan of the whole index), and every vector is compared bit by bit instead."""
OTHERS = 200  # unchanged pictures that are looked at after a small change
RECALL_QUERIES = 50
TIE = 2e-3  # float16 storage: 2**-11 relative on each factor, twice


@dataclass(frozen=True)
class Check:
    """One proof with its verdict and the numbers behind it."""

    name: str
    passed: bool
    detail: str


def check_index(
    index: Any,
    rows: IndexRows,
    *,
    sample: int,
    seed: int,
    first: np.ndarray | None = None,
    in_grey: CatalogInGrey | None = None,
) -> list[Check]:
    """Prove that a FAISS index holds exactly these rows and finds them, in grey as well.

    Above FULL_SELF_FIND rows, `first` are those to look at (the changed ones), with a few of
    the others; None means any.

    Shapes:  rows.vectors (N, D); row ids come back as ids; first (M,) positions
    """
    count = len(rows.row_ids)
    rng = np.random.default_rng(seed)
    checks = [
        Check("count", index.ntotal == count, f"{index.ntotal} vectors for {count} pictures"),
        Check(
            "ids",
            len(np.unique(rows.row_ids)) == count,
            f"{len(np.unique(rows.row_ids))} distinct row ids",
        ),
        _adds_up(rows),
        _finite(rows.vectors),
    ]
    if not all(check.passed for check in checks) or count == 0:
        return checks
    chosen = np.arange(count)
    if count > FULL_SELF_FIND and first is None:
        chosen = np.sort(rng.choice(count, min(sample, count), replace=False))
    elif count > FULL_SELF_FIND and first is not None:
        some = rng.permutation(first)[:sample]
        chosen = np.union1d(some, rng.choice(count, min(OTHERS, count), replace=False))
    checks.append(_self_find(index, rows, chosen))
    asked = rng.choice(count, min(RECALL_QUERIES, count), False)
    checks.append(_recall(index, rows, asked))
    if in_grey is not None:
        checks.append(_in_grey(index, in_grey, rows, asked))
    return checks


def _adds_up(rows: IndexRows) -> Check:
    """Every picture has its vector and its title, and all others are accounted for."""
    right = len(rows.pictures) == len(rows.row_ids) == len(rows.vectors)
    right &= all(row["title_id"] in rows.titles for row in rows.pictures)
    told = ", ".join(f"{n} left out for {what}" for what, n in rows.left_out.items() if n)
    return Check("adds_up", right, told or "no stored picture is left out")


def _finite(vectors: np.ndarray) -> Check:
    norms = np.linalg.norm(vectors, axis=1)
    wrong = int((~(np.abs(norms - 1.0) < 5e-3)).sum())  # counts NaN as well
    return Check("unit_vectors", wrong == 0, f"{wrong} vectors are not finite unit vectors")


def _self_find(index: Any, rows: IndexRows, chosen: np.ndarray) -> Check:
    """Each picture comes first for its own vector, or ties with a copy of itself."""
    missed = 0
    for start in range(0, len(chosen), 1024):
        block = chosen[start : start + 1024]
        scores, ids = index.search(rows.vectors[block], 10)
        own = (ids == rows.row_ids[block][:, None]) & (scores[:, :1] - scores <= TIE)
        suspects = block[~own.any(axis=1)]
        missed += sum(not _is_copy_crowd(rows, int(row), scores.shape[1]) for row in suspects)
    return Check("finds_itself", missed == 0, f"{missed} of {len(chosen)} pictures do not")


def _is_copy_crowd(rows: IndexRows, row: int, k: int) -> bool:
    """More than ten copies of one picture may push its own row off a list of ten."""
    exact = rows.vectors @ rows.vectors[row]
    return int((exact > exact[row] - TIE).sum()) > k


def _recall(index: Any, rows: IndexRows, chosen: np.ndarray) -> Check:
    """The index's ten nearest against a plain matrix product, ties allowed."""
    k = min(10, len(rows.row_ids))
    scores, _ = index.search(rows.vectors[chosen], k)
    exact = np.sort(rows.vectors[chosen] @ rows.vectors.T, axis=1)[:, ::-1][:, :k]
    found = float((np.abs(scores - exact) <= TIE).mean())
    return Check("recall", found == 1.0, f"{found:.4f} of the exact ten nearest")


def _in_grey(index: Any, in_grey: CatalogInGrey, rows: IndexRows, chosen: np.ndarray) -> Check:
    """The ten nearest of pictures that ask in grey against plain products and lengths."""
    k = min(10, len(rows.row_ids))
    lengths = in_grey.map.lengths(rows.vectors)  # (N,)
    found = []
    for own, asks in zip(
        rows.vectors[chosen], in_grey.map.apply(rows.vectors[chosen]), strict=True
    ):
        vector, shift = in_grey.map.asked(asks)
        either = np.maximum((rows.vectors @ vector + shift) / lengths, rows.vectors @ own)
        similarity, _ = nearest(index, in_grey, Question(own, asks), k)
        found.append(np.abs(similarity - np.sort(either)[::-1][:k]) <= TIE)
    share = float(np.mean(found))
    return Check("in_grey", share == 1.0, f"{share:.4f} of the exact ten nearest")
