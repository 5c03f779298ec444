"""What is asked of an index: a style, and the same without colours where a picture has none.

To who asks with a grey picture, a picture of the index is as near as its vector is, or as what
that becomes in grey (`indexer/embedding/in_grey.py`), whichever is nearer: a copy of a grey drawing is still
found with a likeness of 1, and a grey copy of a coloured one is found by what it can show. For
the latter FAISS lists more than is wanted by a product, which is divided by the lengths that the
generation keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from indexer.vector_index.ranking import expanded

if TYPE_CHECKING:
    from indexer.vector_index.generations import Generation
    from indexer.vector_index.grey_lengths import CatalogInGrey

LISTED, LEAST_LISTED = 4, 2000
"""How many times more pictures FAISS lists than are wanted in grey, and how many at least: nearly
always enough to know the nearest for sure. Otherwise it lists WIDENING times more."""
WIDENING = 4
Listed = tuple[np.ndarray, np.ndarray]
"""Similarities, greatest first, and row ids; (K,) both."""


class Question(NamedTuple):
    """A style that is asked about.

    `vector` is what the catalog would keep of it, and labels are told of that alone, as they are
    calibrated; `in_grey` is the same without what grey pictures lack, where all of its pictures
    are grey, else None. `deviation` says how unlike what the model knows its pictures are
    (`indexer/labels/deviation.py`), where that is known.

    Shapes:  vectors (D,) float32, unit
    """

    vector: np.ndarray
    in_grey: np.ndarray | None = None
    deviation: float | None = None


def greys_for(generation: Generation, question: Question) -> CatalogInGrey | None:
    """What a generation knows of grey, read only for who asks in grey."""
    return None if question.in_grey is None else generation.in_grey


def nearest(
    index: Any, in_grey: CatalogInGrey | None, question: Question, k: int, params: Any = None
) -> Listed:
    """The most similar pictures of an index; `params` narrow it, as FAISS has them.

    Shapes:  -> similarity (K,) float32, greatest first, and row ids (K,)
    """
    import faiss

    # One query is one scan on one core: more threads would only wait, and wake the
    # network's own threads while they do (3.4 ms became 0.4 ms on two cores).
    faiss.omp_set_num_threads(1)
    k = min(k, index.ntotal)
    similarity, ids = index.search(question.vector[None], k, params=params)
    there = ids[0] >= 0
    return or_in_grey(index, in_grey, question, (similarity[0][there], ids[0][there]), k, params)


def selected(row_ids: np.ndarray | None) -> Any:
    """Row ids as what narrows a search; None for all. Of one call only: threads share an index."""
    if row_ids is None:
        return None
    import faiss

    return faiss.SearchParameters(sel=faiss.IDSelectorBatch(row_ids))  # type: ignore[call-arg]


def or_in_grey(
    index: Any, in_grey: CatalogInGrey | None, question: Question, found: Listed, k: int,
    params: Any = None,
) -> Listed:  # fmt: skip
    """The most similar pictures either way, from the k that are so (`found`) as they are."""
    if question.in_grey is None or in_grey is None:
        return found
    return _either(found, _nearest_in_grey(index, in_grey, question.in_grey, k, params), k)


def similarities(
    in_grey: CatalogInGrey | None, question: Question, vectors: np.ndarray
) -> np.ndarray:
    """Of the question and vectors as an index keeps them; (B, D) unit -> (B,)"""
    found = vectors @ question.vector
    if question.in_grey is not None and in_grey is not None:
        found = np.maximum(found, in_grey.map.apply(vectors) @ question.in_grey)
    return np.asarray(found)


def widened(in_grey: CatalogInGrey | None, question: Question, vectors: np.ndarray) -> Question:
    """The question and its nearest pictures (K, D) together, as `indexer/vector_index/ranking.py` has it."""
    wider = Question(expanded(question.vector, vectors))
    if question.in_grey is None or in_grey is None:
        return wider
    return wider._replace(in_grey=expanded(question.in_grey, in_grey.map.apply(vectors)))


def _either(one: Listed, other: Listed, k: int) -> Listed:
    """The k greatest of either list by the greater similarity.

    Both hold their k greatest. What one of them lacks has no more there than its last, so that it
    is among the k only with what the other says: no third look is needed.
    """
    ids, first = np.unique(np.concatenate([one[1], other[1]]), return_index=True)
    best = np.full(len(ids), -np.inf, np.float32)
    for similarity, listed in (one, other):
        np.maximum.at(best, np.searchsorted(ids, listed), similarity)
    order = np.lexsort((first, -best))[:k]  # equal ones as they were listed
    return best[order], ids[order]


def _nearest_in_grey(
    index: Any, in_grey: CatalogInGrey, asks: np.ndarray, k: int, params: Any
) -> Listed:
    vector, shift = in_grey.map.asked(asks)
    shortest, longest = in_grey.range
    size = max(LISTED * k, LEAST_LISTED)
    while True:
        size = min(size, index.ntotal)
        found, listed = index.search(vector[None], size, params=params)
        ids = listed[0][listed[0] >= 0]
        products = found[0][: len(ids)] + np.float32(shift)
        similarity = products / in_grey.of(ids)
        order = np.argsort(-similarity, kind="stable")[:k]
        if len(ids) < size or size == index.ntotal:
            break
        # What is not listed has at most the last product, and a length within the range.
        beyond = products[-1] / (shortest if products[-1] > 0 else longest)
        if similarity[order[-1]] >= beyond:
            break
        size *= WIDENING
    return similarity[order], ids[order]
