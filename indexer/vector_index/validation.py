"""Checks that a new generation must pass: of itself, and against the one in use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.labels.calibration import Calibration
from indexer.panels.picture import PictureReader
from indexer.vector_index.faiss_index import SearchPlan, VectorIndex
from indexer.vector_index.generations import Generation
from indexer.vector_index.metadata import CODES, IndexRows, label_dataset
from indexer.vector_index.ranking import BLOCK_ROWS, exact_nearest
from schemas.attempt import attempt
from schemas.errors import NoIndexError
from schemas.images import PictureError, PictureLimits
from schemas.records import LABEL_KINDS
from schemas.settings import IndexSettings
from schemas.storage.layout import Layout

FULL_SELF_FIND = 10_000
"""Up to this many pictures every one must find itself through FAISS; above, a sample does
(each costs a scan of the whole index), and every vector is compared bit by bit instead."""
OTHERS = 200  # unchanged pictures that are checked after a small change
RECALL_QUERIES = 50
TIE = 2e-3  # float16 storage: 2**-11 relative on each factor, twice


@dataclass(frozen=True)
class Check:
    """One check with its result and the numbers behind it."""

    name: str
    passed: bool
    detail: str


def check_index(
    index: VectorIndex,
    rows: IndexRows,
    *,
    sample: int,
    seed: int,
    first: np.ndarray | None = None,
) -> list[Check]:
    """Check that an index holds exactly these rows and finds them.

    Above FULL_SELF_FIND rows, `first` are those to check (the changed ones), with a few of
    the others; None means any.

    Shapes:  rows.vectors (N, D); row ids come back as ids; first (M,) positions
    """
    count = len(rows.row_ids)
    rng = np.random.default_rng(seed)
    checks = [
        Check("count", index.count == count, f"{index.count} vectors for {count} pictures"),
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
    checks.append(_recall(index, rows, rng.choice(count, min(RECALL_QUERIES, count), False)))
    return checks


def _adds_up(rows: IndexRows) -> Check:
    """Every picture has its vector and its title, and all others are accounted for."""
    right = len(rows.pictures) == len(rows.row_ids) == len(rows.vectors)
    right &= all(title in rows.titles for title in rows.title_codes()[0])
    detail = ", ".join(f"{n} left out for {what}" for what, n in rows.left_out.items() if n)
    return Check("adds_up", right, detail or "no stored picture is left out")


def _finite(vectors: np.ndarray) -> Check:
    wrong = 0
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = np.asarray(vectors[start : start + BLOCK_ROWS], np.float32)
        norms = np.linalg.norm(block, axis=1)
        wrong += int((~(np.abs(norms - 1.0) < 5e-3)).sum())  # counts NaN as well
    return Check("unit_vectors", wrong == 0, f"{wrong} vectors are not finite unit vectors")


def _self_find(index: VectorIndex, rows: IndexRows, chosen: np.ndarray) -> Check:
    """Each picture comes first for its own vector, or ties with a copy of itself."""
    missed = 0
    for start in range(0, len(chosen), 1024):
        block = chosen[start : start + 1024]
        for exact in (False, True):  # a scan finds what candidates may miss
            asked = np.asarray(rows.vectors[block], np.float32)
            scores, ids = index.search(asked, 10, exact=exact)
            own = (ids == rows.row_ids[block][:, None]) & (scores[:, :1] - scores <= TIE)
            block = block[~own.any(axis=1)]
            if not len(block):
                break
        missed += sum(not _is_copy_crowd(rows, int(row), scores.shape[1]) for row in block)
    return Check("finds_itself", missed == 0, f"{missed} of {len(chosen)} pictures do not")


def _is_copy_crowd(rows: IndexRows, row: int, k: int) -> bool:
    """More than ten copies of one picture may push its own row off a list of ten."""
    own = np.asarray(rows.vectors[row : row + 1], np.float32)
    nearest, _ = exact_nearest(own, rows.vectors, min(k + 1, len(rows.vectors)))
    return int((nearest > float(own[0] @ own[0]) - TIE).sum()) > k


def _recall(index: VectorIndex, rows: IndexRows, chosen: np.ndarray) -> Check:
    """The index's ten nearest against a plain matrix product, ties allowed."""
    k = min(10, len(rows.row_ids))
    asked = np.asarray(rows.vectors[chosen], np.float32)
    scores, _ = index.search(asked, k, exact=True)
    exact, _ = exact_nearest(asked, rows.vectors, k)
    found = float((np.abs(scores - exact) <= TIE).mean())
    return Check("recall", found == 1.0, f"{found:.4f} of the exact ten nearest")


def check_recall(plan: SearchPlan, least: float) -> Check:
    """Whether candidates find as much of the exact ten nearest as is wanted (`recall.py`)."""
    detail = f"{plan.kind} finds {plan.recall:.4f} of the exact ten nearest"
    return Check("min_recall", plan.recall >= least, f"{detail}, {least:g} is wanted")


# --- Against the generation in use. Canary queries are the pictures with the smallest row ids, which
# are digests, so that the same ones are asked night after night. Only pictures that both generations
# hold are compared: a newcomer may well be the nearest.

CANARIES = 50
SHOWN = 10
DEPTH = 50  # deeper, so that ties at the end of a list do not count as changes
RE_ENCODED = 6
READ = 100
"""So many stored pictures are tried at most: a store that is not there has a million that fail."""
ALIKE = 0.2
"""When a larger share of the pictures has changed, another catalog is measured, not another
index: more authors are harder to tell apart: that is no fault."""
SAME_VECTOR = 0.99  # cosine of a stored vector with a re-encoded one; float16 and threads cost 1e-3


@dataclass(frozen=True)
class Predecessor:
    """The generation in use, as the checks and the calibration need it.

    Shapes:  row_ids (N,) int64, codes (N, LABEL_KINDS) int64
    """

    generation: Generation
    calibration: Calibration
    row_ids: np.ndarray
    codes: np.ndarray
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
            sql = f"select row_id, {', '.join(CODES)} from pictures"
            width = np.dtype((np.int64, 1 + len(CODES)))
            found = np.fromiter(generation.meta.execute(sql), width)
            drift = float(generation.checks["drift"])
            return cls(generation, generation.calibration, found[:, 0], found[:, 1:], drift)
        except (NoIndexError, ValueError, TypeError, KeyError):
            generation.close()
            return None

    def changed(self, rows: IndexRows) -> tuple[np.ndarray, float]:
        """Positions of new or relabelled rows, and the share of all pictures that came,
        went or were relabelled.

        Shapes:  -> (M,)
        """
        _, here, there = np.intersect1d(rows.row_ids, self.row_ids, return_indices=True)
        touched = np.ones(len(rows.row_ids), bool)
        touched[here] = False
        data = label_dataset(rows, self.calibration.era_years)
        before = self.generation.labels.labels
        for kind, codes in zip(LABEL_KINDS, self.codes[there].T, strict=True):
            # Both numbers stand for places in sorted names, of which some came and went.
            number = {name: at for at, name in enumerate(data.names[kind])}
            names = before[kind].names if kind in before else ()
            now = np.asarray([*(number.get(name, len(number)) for name in names), -1], np.int64)
            touched[here] |= now[codes] != data.codes[kind][here]
        gone = int((~np.isin(self.row_ids, rows.row_ids)).sum())
        return np.flatnonzero(touched), (int(touched.sum()) + gone) / max(1, len(rows.row_ids))

    def compare(
        self, index: VectorIndex, rows: IndexRows, settings: IndexSettings, *, same_model: bool
    ) -> list[Check]:
        """Whether a new index has as many pictures, and gives the answers that this one gives."""
        had, has = len(self.row_ids), len(rows.row_ids)
        enough = has >= had * (1.0 - settings.max_loss)
        checks = [Check("yield", enough, f"{has:,} pictures after {had:,}")]
        if not same_model:
            detail = "another model: answers cannot be compared"
            return [*checks, Check("canaries", True, detail)]
        shared = np.intersect1d(self.row_ids, rows.row_ids)
        own = np.isin(rows.row_ids, shared[:CANARIES])
        asked = np.asarray(rows.vectors[own], np.float32)
        if not len(asked):
            return [*checks, Check("canaries", True, "no picture in common")]
        old = self.generation.index.search(asked, SHOWN, shared, exact=True)
        new = index.search(asked, DEPTH, shared, exact=True)
        same = [
            np.abs(score - dict(zip(ids, scores, strict=True)).get(row_id, -9.0)) <= TIE
            for score_row, id_row, scores, ids in zip(*old, *new, strict=True)
            for score, row_id in zip(score_row, id_row, strict=True)
        ]
        share = float(np.mean(same))
        detail = f"{share:.4f} of {len(same)} answers are as they were"
        return [*checks, Check("canaries", share >= 1.0 - settings.max_change, detail)]


def check_labels(
    before: Calibration,
    after: Calibration,
    max_drop: float,
    *,
    comparable: bool = True,
    changed: float = 0.0,
) -> Check:
    """Cross-fitted accuracy by kind of label; a fall must exceed what chance gives.

    `changed` is the share of pictures that changed; `comparable` says that `after` was re-fitted.
    """
    if not comparable or changed > ALIKE:
        return Check("labels", True, "too little or too much has changed to compare")
    if before.basis != after.basis:
        return Check("labels", True, f"measured on {after.basis}, before on {before.basis}")
    details, passed = [], True
    for kind in LABEL_KINDS:
        if kind == "era" and before.era_years != after.era_years:
            continue  # narrower ones are harder to tell, and that is no fault
        old, new = before.measured.get(f"{kind}_top1"), after.measured.get(f"{kind}_top1")
        if old is None or new is None:
            continue
        asked = [max(1.0, m.measured.get(f"{kind}_queries", 1.0)) for m in (before, after)]
        right = (old * asked[0] + new * asked[1] + 1.0) / (sum(asked) + 2.0)
        chance = 3.0 * (right * (1.0 - right) * sum(1.0 / n for n in asked)) ** 0.5
        passed &= new >= old - max(max_drop, chance)
        details.append(f"{kind} {old:.3f} to {new:.3f}")
    return Check("labels", passed, ", ".join(details) or "not measured")


def check_encoder(
    layout: Layout, model_dir: Path, rows: IndexRows, limits: PictureLimits, first: np.ndarray
) -> Check:
    """Stored pictures, read and encoded as a query would be, give the vectors of the index.

    Shapes:  first (M,) positions of changed rows
    """
    from indexer.embedding.embed import read_stored
    from indexer.embedding.encoder import Encoder

    encoder, reader = Encoder.open(model_dir), PictureReader(layout, limits)
    order = [*np.argsort(rows.row_ids)[: RE_ENCODED // 2].tolist(), *first[:READ].tolist()]
    worst, count = 1.0, 0
    for row in list(dict.fromkeys(order))[:READ]:
        pixels = attempt(read_stored, reader, encoder.pixel_spec, rows.pictures[row])
        if isinstance(pixels, PictureError):
            continue  # the store's damage is the catalog's matter: the vector still answers
        worst = min(worst, float(encoder.encode([pixels]).vectors[0] @ rows.vectors[row]))
        count += 1
        if count == RE_ENCODED:
            break
    detail = f"{count} pictures re-encoded, least cosine {worst:.4f}"
    return Check("encoder", worst >= SAME_VECTOR, detail)
