"""Which kind of index a catalog gets, and how much of the exact answer it finds, measured.

Small catalogs are scanned; larger ones get candidates, whose recall is measured against that scan
at every build. A kind that does not find enough gives way to a more exact one, or is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from indexer.vector_index.faiss_index import (
    CANDIDATES,
    FLAT,
    SearchPlan,
    VectorIndex,
    write_candidates,
)
from indexer.vector_index.ranking import exact_nearest
from schemas.settings import IndexSettings

NEAREST = 10
QUERIES = 200
TIE = 1e-4
SCAN_MS = 2e-7
"""Milliseconds that a scan takes for each number of a vector (docs/scale.md)."""
MORE_EXACT = {"ivfpq": "ivf", "ivf": "flat", "hnsw": "flat"}
REFINE = {"ivf": 4, "ivfpq": 10, "hnsw": 2}
"""Of 43,000 drawings' and emoji's vectors the codes alone keep 0.997 of the exact 200 nearest so."""
LEAST_PROBES, LEAST_IN_VIEW, MOST_IN_VIEW = 4, 64, 1024
HALVINGS = 3
"""Numbers of probes that are tried between one that finds too little and the next that does not."""
DOUBLED = 2.0
"""Lists are laid out again when the catalog is so many times as large as when they were."""


@dataclass
class Chosen:
    """What was written beside the vectors, and why it is not what was wanted."""

    plan: SearchPlan = FLAT
    notes: list[str] = field(default_factory=list)


def kind_of(settings: IndexSettings, count: int, dimension: int) -> str:
    """The kind that a catalog of so many vectors gets: as set, or by what a scan takes and what
    may be held in memory."""
    if settings.kind != "auto":
        return settings.kind if count else "flat"
    if count * dimension * SCAN_MS <= settings.latency_ms:
        return "flat"
    # The codes of one vector and its number; the half floats stay on the disk.
    too_large = settings.memory and count * (dimension / 4 + 8) > settings.memory
    return "ivfpq" if too_large else "ivf"


def choose_candidates(path: Path, settings: IndexSettings, previous: VectorIndex | None) -> Chosen:
    """Write the candidates of a flat index beside it, where it shall have some, and measure them.

    `previous` is the index in use, whose lists are taken over while they find enough. With
    `index.kind` auto a kind that finds too little gives way to a more exact one; one that was
    asked for is left to the checks.

    Errors:  OSError
    """
    exact, chosen = VectorIndex.open(path), Chosen()
    kind = kind_of(settings, exact.count, exact.dimension)
    asked = None
    if kind != "flat":
        exact.use(settings.device)
        asked = _Asked.of(exact, settings)
    while kind != "flat":
        assert asked is not None
        chosen.plan = _written(path, exact, kind, settings, previous, asked)
        if exact.trouble and exact.trouble not in chosen.notes:
            chosen.notes.append(exact.trouble)
        if chosen.plan.recall >= settings.min_recall or settings.kind != "auto":
            return chosen
        chosen.notes.append(
            f"{kind} finds {chosen.plan.recall:.4f} of the exact ten nearest, index.min_recall is"
            f" {settings.min_recall:g}: {MORE_EXACT[kind]} is used instead"
        )
        kind = MORE_EXACT[kind]
    path.with_name(CANDIDATES).unlink(missing_ok=True)
    chosen.plan = FLAT
    return chosen


def _written(
    path: Path,
    exact: VectorIndex,
    kind: str,
    settings: IndexSettings,
    previous: VectorIndex | None,
    asked: _Asked,
) -> SearchPlan:
    """Candidates of a kind, with lists taken over if that finds enough, else with new ones."""
    target = path.with_name(CANDIDATES)
    if previous is not None and previous.plan.kind == kind and previous.has_lists:
        plan = replace(previous.plan, recall=0.0)
        if plan.trained_on and exact.count < DOUBLED * plan.trained_on:
            write_candidates(exact, target, plan, settings.seed, previous)
            plan = _tuned(path, plan, settings, asked)
            if plan.recall >= settings.min_recall:
                return plan
    plan = SearchPlan(kind, lists_for(exact.count), trained_on=exact.count, recall=0.0)
    write_candidates(exact, target, plan, settings.seed, None)
    return _tuned(path, plan, settings, asked)


def lists_for(count: int) -> int:
    """How many lists: about twice the square root, a power of two, with eight vectors or more."""
    wanted = min(2.0 * count**0.5, count / 8)
    return int(2 ** round(np.log2(wanted))) if wanted > 1 else 1


@dataclass(frozen=True)
class _Asked:
    """Stored vectors as queries, each without itself. Shapes:  queries (Q, D), row_ids (Q,),
    least (Q,) the similarity of the last of the exact NEAREST"""

    queries: np.ndarray
    row_ids: np.ndarray
    least: np.ndarray

    @classmethod
    def of(cls, exact: VectorIndex, settings: IndexSettings) -> _Asked:
        rng = np.random.default_rng(settings.seed)
        size = min(exact.count, QUERIES, settings.sample)
        row_ids = exact.row_ids[np.sort(rng.choice(exact.count, size, replace=False))]
        queries = exact.vectors(row_ids)
        none = cls(queries, row_ids, np.empty(0))
        if exact.on_gpu:
            found = exact.search(queries, NEAREST + 1)
        else:  # one matrix product for all of them
            similarity, at = exact_nearest(queries, exact.halves, min(NEAREST + 1, exact.count))
            found = similarity, exact.row_ids[at]
        similarity = none.others(*found)
        return replace(none, least=similarity[:, -1] if similarity.shape[1] else none.least)

    def others(self, similarity: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Similarities of what was found but for the query itself, greatest first; (Q, NEAREST + 1
        or less) -> (Q, one less)"""
        own = ids == self.row_ids[:, None]
        own[~own.any(axis=1), -1] = True  # behind copies of itself: any one of them
        return np.asarray(similarity[~own].reshape(len(self.queries), -1))

    def recall(self, index: VectorIndex) -> float:
        """The share of the exact nearest that an index finds; of equal ones any."""
        if not len(self.least):
            return 1.0
        found = self.others(*index.search(self.queries, NEAREST + 1))
        return float((found >= self.least[:, None] - TIE).mean())


def measured_recall(exact: VectorIndex, index: VectorIndex, settings: IndexSettings) -> float:
    """The share of the exact NEAREST of a sample that another index of the same vectors finds."""
    return _Asked.of(exact, settings).recall(index)


def _tuned(path: Path, plan: SearchPlan, settings: IndexSettings, asked: _Asked) -> SearchPlan:
    """The plan with about as few probes as find what is wanted and half of the rest, or the best
    one."""
    index = VectorIndex.open(path, plan)
    wanted = (1.0 + settings.min_recall) / 2.0
    if plan.kind == "hnsw":
        least, most = LEAST_IN_VIEW, MOST_IN_VIEW
    else:
        least, most = LEAST_PROBES, max(1, plan.lists // 2)

    def tried(probes: int) -> SearchPlan:
        new = replace(plan, probes=probes, refine=REFINE[plan.kind])
        return replace(new, recall=asked.recall(index.changed_to(new)))

    too_few, found = 0, tried(min(least, most))
    best = found
    while found.recall < wanted and found.probes < most:
        too_few, found = found.probes, tried(min(2 * found.probes, most))
        best = max(best, found, key=lambda one: one.recall)
    if found.recall < wanted or not too_few:
        return best
    for _ in range(HALVINGS):
        less = tried((too_few + found.probes) // 2)
        if less.recall >= wanted:
            found = less
        else:
            too_few = less.probes
    return found
