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

from indexer.checks import TIE, Check
from indexer.generations import Generation
from indexer.labels import KINDS, Calibration
from indexer.metadata import author_names
from indexer.rows import IndexRows
from schemas.errors import NoIndexError
from schemas.layout import Layout
from schemas.pictures import PictureError, PictureLimits
from schemas.settings import IndexSettings

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
    from indexer.embed import read_stored
    from indexer.encoder import Encoder

    encoder = Encoder.open(model_dir)
    order = [*np.argsort(rows.row_ids)[: RE_ENCODED // 2].tolist(), *first.tolist()]
    worst, looked = 1.0, 0
    for row in dict.fromkeys(order):
        picture = rows.pictures[row]
        file, picture_id = picture["file"] or "", picture["picture_id"]
        pixels = read_stored(layout, file, picture_id, limits, encoder.pixel_spec)
        if isinstance(pixels, PictureError):
            continue  # the store's damage is the catalog's matter: the vector still answers
        worst = min(worst, float(encoder.encode([pixels])[0] @ rows.vectors[row]))
        looked += 1
        if looked == RE_ENCODED:
            break
    told = f"{looked} pictures encoded anew, least cosine {worst:.4f}"
    return Check("encoder", worst >= SAME_VECTOR, told)
