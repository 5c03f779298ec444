"""What a new generation proves against the one in use before it may take its place.

Canary queries are a fixed set: the pictures with the smallest row ids, which are digests,
so that the same ones are asked night after night. Only pictures that both generations hold
are compared, because a newcomer may well be the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer.labels.labels import KINDS, Calibration
from indexer.vector_index.generations import Generation
from indexer.vector_index.grey_lengths import CatalogInGrey
from indexer.vector_index.metadata import author_names
from indexer.vector_index.rows import IndexRows
from indexer.vector_index.search import Question, nearest
from schemas.errors import NoIndexError
from schemas.images import PictureError, PictureLimits
from schemas.settings import IndexSettings
from schemas.storage.layout import Layout

# --- What a generation proves about itself before anyone may publish it.

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


CANARIES = 50
LOOK = 50  # neighbours read of each canary, so that ten are left of those that both hold
SHOWN = 10
RE_ENCODED = 6
ALIKE = 0.2
"""When a larger share of the pictures has changed, another catalog is measured, not another
index: more hands are harder to tell apart, and that is no fault."""
SAME_VECTOR = 0.99  # cosine of a stored vector with one made anew; float16 and threads cost 1e-3


@dataclass(frozen=True)
class Predecessor:
    """The generation in use, as the proofs and the calibration need it.

    Shapes:  row_ids (N,) int64
    """

    generation: Generation
    calibration: Calibration
    row_ids: np.ndarray
    drift: float

    @classmethod
    def open(cls, layout: Layout, generation_id: str | None) -> Predecessor | None:
        """The published generation, None when there is none or it is damaged."""
        if generation_id is None:
            return None
        try:
            generation = Generation.open(layout, generation_id)
        except NoIndexError:
            return None
        try:
            found = generation.meta.execute("select row_id from pictures").fetchall()
            ids = np.asarray([row[0] for row in found], dtype=np.int64)
            drift = float(generation.checks.get("drift", 1.0))
            return cls(generation, generation.calibration, ids, drift)
        except (NoIndexError, ValueError, TypeError):  # of an older program
            generation.close()
            return None

    def changed(self, rows: IndexRows) -> tuple[np.ndarray, float]:
        """Positions of new or relabelled rows, and the share of all pictures that came,
        went or were relabelled.

        Shapes:  -> (M,)
        """
        before = {
            row[0]: row[1:]
            for row in self.generation.meta.execute(
                "select title_id, author, genre, year from titles"
            )
        }
        relabelled = {
            title_id
            for title_id, title in rows.titles.items()
            if before.get(title_id)
            != (
                next(iter(author_names(title)), None),
                next(iter(title.get("genres") or []), None),
                title.get("year"),
            )
        }
        new = ~np.isin(rows.row_ids, self.row_ids)
        touched = new | np.asarray([row["title_id"] in relabelled for row in rows.pictures], bool)
        gone = int((~np.isin(self.row_ids, rows.row_ids)).sum())
        return np.flatnonzero(touched), (int(touched.sum()) + gone) / max(1, len(rows.row_ids))


def compare(
    before: Predecessor,
    index: Any,
    rows: IndexRows,
    calibration: Calibration,
    settings: IndexSettings,
    *,
    same_model: bool,
    fitted: bool,
    changed: float,
) -> list[Check]:
    """Prove a new index against its predecessor.

    `changed` is the share of pictures that changed since then, and `fitted` whether the
    votes were fitted anew.

    Shapes:  rows.vectors (N, D)
    """
    alike = fitted and changed <= ALIKE
    return [
        _yield(before, rows, settings.max_loss),
        _canaries(before, index, rows, settings.max_change, same_model),
        _quality(before.calibration, calibration, settings.max_quality_drop, alike),
    ]


def _yield(before: Predecessor, rows: IndexRows, allowed: float) -> Check:
    had, has = len(before.row_ids), len(rows.row_ids)
    return Check("yield", has >= had * (1.0 - allowed), f"{has:,} pictures after {had:,}")


def _canaries(
    before: Predecessor, index: Any, rows: IndexRows, allowed: float, same_model: bool
) -> Check:
    if not same_model:
        return Check("canaries", True, "another model: answers cannot be compared")
    shared = np.intersect1d(before.row_ids, rows.row_ids)
    if not len(shared):
        return Check("canaries", True, "no picture in common")
    place = np.flatnonzero(np.isin(rows.row_ids, shared[:CANARIES]))
    kept = asked = 0
    for row in place:
        vector = rows.vectors[row][None]
        old = _answers(before.generation.index, vector, shared)
        new = _answers(index, vector, shared)
        asked += len(old[:SHOWN])
        known = dict(new)
        kept += sum(
            row_id in known and abs(known[row_id] - score) <= TIE for row_id, score in old[:SHOWN]
        )
    share = kept / max(1, asked)
    return Check(
        "canaries", share >= 1.0 - allowed, f"{share:.4f} of {asked} answers are as they were"
    )


def _answers(index: Any, vector: np.ndarray, shared: np.ndarray) -> list[tuple[int, float]]:
    import faiss

    # Only among what both hold: newcomers and what is gone must not push others off.
    params = faiss.SearchParameters(sel=faiss.IDSelectorBatch(shared))  # type: ignore[call-arg]
    scores, ids = index.search(vector, min(LOOK, len(shared)), params=params)
    there = ids[0] >= 0
    return list(zip(ids[0][there].tolist(), scores[0][there].tolist(), strict=True))


def _quality(before: Calibration, after: Calibration, allowed: float, alike: bool) -> Check:
    """Cross-fitted accuracy by kind of label; a fall must exceed what chance gives."""
    if not alike:
        return Check("labels", True, "too little or too much has changed to compare")
    if before.basis != after.basis:
        return Check("labels", True, f"measured on {after.basis}, before on {before.basis}")
    told, passed = [], True
    for kind in KINDS:
        if kind == "era" and before.era_years != after.era_years:
            continue  # narrower ones are harder to tell, and that is no fault
        old, new = before.measured.get(f"{kind}_top1"), after.measured.get(f"{kind}_top1")
        if old is None or new is None:
            continue
        asked = [max(1.0, m.measured.get(f"{kind}_queries", 1.0)) for m in (before, after)]
        right = (old * asked[0] + new * asked[1] + 1.0) / (sum(asked) + 2.0)
        chance = 3.0 * (right * (1.0 - right) * sum(1.0 / n for n in asked)) ** 0.5
        passed &= new >= old - max(allowed, chance)
        told.append(f"{kind} {old:.3f} to {new:.3f}")
    return Check("labels", passed, ", ".join(told) or "not measured")


def check_encoder(
    layout: Layout, model_dir: Path, rows: IndexRows, limits: PictureLimits, first: np.ndarray
) -> Check:
    """Stored pictures, read and encoded as a query would be, give the vectors of the index.

    Shapes:  first (M,) positions of changed rows
    """
    from indexer.embedding.embed import read_stored
    from indexer.embedding.encoder import Encoder

    encoder = Encoder.open(model_dir)
    order = [*np.argsort(rows.row_ids)[: RE_ENCODED // 2].tolist(), *first.tolist()]
    worst, looked = 1.0, 0
    for row in dict.fromkeys(order):
        picture = rows.pictures[row]
        file, picture_id = picture["file"] or "", picture["picture_id"]
        pixels = read_stored(layout, file, picture_id, limits, encoder.pixel_spec)
        if isinstance(pixels, PictureError):
            continue  # the store's damage is the catalog's matter: the vector still answers
        worst = min(worst, float(encoder.encode([pixels]).vectors[0] @ rows.vectors[row]))
        looked += 1
        if looked == RE_ENCODED:
            break
    told = f"{looked} pictures encoded anew, least cosine {worst:.4f}"
    return Check("encoder", worst >= SAME_VECTOR, told)
