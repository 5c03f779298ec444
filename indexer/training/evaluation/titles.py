"""Works instead of pictures: how often the first title of an answer is by the query's hand.

The titles are ranked by the product's own code, `indexer/vector_index/ranking.py`, beside simpler ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexer.training.evaluation.metrics import Gallery, paired_interval
from indexer.training.evaluation.retrieval import Ground
from indexer.training.spaces import Space
from indexer.vector_index.ranking import manners, title_scores

LOOKED_AT = 200
"""Pictures that a query looks at, as `query.neighbours` has it."""
BEST, THREE, MANNER = "best picture", "best three pictures", "best three and manner, as in use"
WAYS = (BEST, THREE, MANNER)


@dataclass(frozen=True)
class TitleRow:
    """One way of ranking titles, mean over splits; shares from 0 to 1.

    `first_right` is how often the first title is by the query's author, `among_ten` how often one
    of the first ten is, `gain` that of `first_right` over the row above with its 95 % interval.
    """

    space: str
    way: str
    first_right: float
    among_ten: float
    gain: tuple[float, float, float] | None


def measure_titles(ground: Ground, spaces: Sequence[Space]) -> list[TitleRow]:
    """Every test picture asks for titles, its own left out, on each split."""
    rows: list[TitleRow] = []
    for space in spaces:
        above: list[np.ndarray] | None = None
        ranks = [
            title_ranks(
                ground.vectors(space, split, wanted=True).full.part(test),
                ground.store.bench.manifest.authors[test],
                ground.store.bench.manifest.series[test],
                ground.copies(split),
            )
            for split, test in enumerate(ground.test)
        ]  # one (3, Q) for each split
        for number, way in enumerate(WAYS):
            first = [rank[number] == 1 for rank in ranks]
            rows.append(
                TitleRow(
                    space.name,
                    way,
                    float(np.mean([right.mean() for right in first])),
                    float(np.mean([(rank[number] <= 10).mean() for rank in ranks])),
                    None if above is None else paired_interval(first, above),
                )
            )
            above = first
    return rows


def title_ranks(
    gallery: Gallery, authors: np.ndarray, series: np.ndarray, copies: np.ndarray
) -> np.ndarray:
    """The rank of the first title by the query's author, by each of WAYS; beyond every list
    where none of its titles was found.

    Only queries count whose author has another title; neither the own title nor a near-duplicate
    is a candidate (the latter stays a part of its title's manner).

    Shapes:  N pictures, authors and series (N,), copies (N, N) bool -> (3, Q) int
    """
    names, serial = np.unique(series, return_inverse=True)
    order = np.argsort(serial, kind="stable")
    of_titles = manners(gallery.vectors[order], series[order].tolist())  # (T, D)
    near = gallery.similarity(gallery.questions, of_titles)  # (N, T)
    author_of = dict(zip(series.tolist(), authors.tolist(), strict=True))
    found: list[list[int]] = []
    for row, similarity in enumerate(gallery.similarity(gallery.questions)):
        allowed = (serial != serial[row]) & ~copies[row]
        if not (allowed & (authors == authors[row])).any():
            continue
        similarity = np.where(allowed, similarity, -np.inf)
        seen = np.argsort(-similarity, kind="stable")[: min(LOOKED_AT, int(allowed.sum()))]
        manner = dict(zip(names.tolist(), near[row].tolist(), strict=True))
        listed, plain = title_scores(similarity[seen], series[seen])
        _, with_manner = title_scores(similarity[seen], series[seen], manner)
        by_best = [similarity[seen][series[seen] == name].max() for name in listed]
        right = np.array([author_of[name] == authors[row] for name in listed.tolist()])
        found.append([_first(right, scores) for scores in (np.array(by_best), plain, with_manner)])
    return np.asarray(found, dtype=np.int64).reshape(-1, len(WAYS)).T


def _first(right: np.ndarray, scores: np.ndarray) -> int:
    """The rank of the first right title; equal scores keep the order of the ids."""
    ranked = right[np.argsort(-scores, kind="stable")]
    return int(ranked.argmax()) + 1 if ranked.any() else LOOKED_AT + 1


def title_table(rows: Sequence[TitleRow]) -> str:
    """In Markdown."""
    lines = [
        "| features | titles ranked by | first title right | among the first ten | gain |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        gain = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row.gain) if row.gain else ""
        figures = f"{row.first_right:.3f} | {row.among_ten:.3f} | {gain}"
        lines.append(f"| {row.space} | {row.way} | {figures} |")
    return "\n".join(lines)
