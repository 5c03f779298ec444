"""Author, genre and era of held-out series, told by the product's own code.

Whole series are held out in turn. Everything that an answer rests on (space, neighbours, heads,
their weights and temperatures) is learnt on the other series, by `indexer.labels.calibration` and
`indexer.labels.heads` as `toonsearch index build` does. Beside it stand a majority floor, the nearest
neighbour in frozen features and a linear probe on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from indexer.labels.calibration import Asked, fit
from indexer.labels.deviation import UsualDeviation
from indexer.labels.holdout import Case, HeldOut, Labelled, fitted_heads
from indexer.labels.knn import humbled
from indexer.labels.labels import KINDS, Calibration
from indexer.labels.metrics import (
    calibration_error_by_chance,
    expected_calibration_error,
    macro_f1,
)
from indexer.labels.votes import Votes
from indexer.training.data import FOLDS, NO_YEAR, Benchmark, series_folds, several_series
from indexer.training.evaluation.metrics import unit
from indexer.training.evaluation.retrieval import Ground
from indexer.training.probe import linear_probe
from indexer.training.spaces import Space
from indexer.training.whitening import deviations_from
from schemas.records import DECADE, era_of, era_start

# --- Figures of labels: what share was right, how sure the answer was, how many years off.

WIDE_YEARS = 20
WIDE = f"era, {WIDE_YEARS} years"
"""The kind of label that the product tells when it is built with eras of this width."""
HEAD_ALONE = "the head alone"
TOP = 5


@dataclass(frozen=True)
class LabelFigures:
    """One way of telling one kind of label. Shares from 0 to 1; errors in years.

    `calibration_chance` is what an answer that is right as often as it says would measure.
    """

    kind: str
    name: str
    top1: float
    top5: float | None
    macro_f1: float
    calibration_error: float | None
    queries: int
    years_error: float | None = None
    calibration_chance: float | None = None

    @property
    def calibration(self) -> str:
        """The calibration error as tables show it, empty where there is none."""
        if self.calibration_error is None or self.calibration_chance is None:
            return ""
        return f"{100 * self.calibration_error:.1f} % ({100 * self.calibration_chance:.1f})"


@dataclass(frozen=True)
class Told:
    """What was told of the held-out pictures of one kind, by the whole product.

    Shapes:  truth, predicted (Q,) str; confidence (Q,); rows (Q,) in the benchmark
    """

    truth: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    rows: np.ndarray


@dataclass
class LabelResult:
    """The figures of all kinds, and what the report draws."""

    figures: list[LabelFigures] = field(default_factory=list)
    told: dict[str, Told] = field(default_factory=dict)
    new_catalogs: dict[str, float] = field(default_factory=dict)
    """What an index of each split's unseen authors measures, mean."""


@dataclass(frozen=True)
class Answers:
    """Scores of labels for some pictures.

    Shapes:  rows, truth (Q,), names (C,), scores (Q, C)"""

    rows: np.ndarray
    truth: np.ndarray
    names: np.ndarray
    scores: np.ndarray


PROBABILITIES = frozenset(
    {"vote and head", "the neighbours' vote alone", "linear probe on frozen statistics"}
)


def add_figures(
    result: LabelResult,
    kind: str,
    way: str,
    answers: list[Answers],
    series: np.ndarray,
    years_error: float | None = None,
) -> None:
    """Add the figures of one way of telling a kind, over all folds; series (N,) of all pictures."""
    rows = np.concatenate([a.rows for a in answers])
    if not len(rows):
        return
    truth = np.concatenate([a.truth for a in answers])
    best = np.concatenate([a.names[a.scores.argmax(1)] for a in answers])
    confidence = np.concatenate([a.scores.max(1) for a in answers])
    within = np.concatenate(
        [
            (a.names[np.argsort(-a.scores, 1, kind="stable")[:, :TOP]] == a.truth[:, None]).any(1)
            for a in answers
        ]
    )
    honest = way in PROBABILITIES
    many = way != "nearest frozen picture" and kind != WIDE
    right = (best == truth).astype(float)
    error = expected_calibration_error(confidence, right)
    chance = calibration_error_by_chance(confidence, right, series[rows]) if honest else None
    result.figures.append(
        LabelFigures(
            kind,
            way,
            float(right.mean()),
            float(within.mean()) if many else None,
            macro_f1(best, truth),
            error if honest else None,
            len(rows),
            years_error,
            chance,
        )
    )
    if way == "vote and head":
        result.told[kind] = Told(truth, best, confidence, rows)


def summed(answers: Answers) -> Answers:
    """Decades as wide eras: what a way that knows only decades says of those."""
    names, truth = (
        np.array([era_of(era_start(name), WIDE_YEARS) for name in part.tolist()], np.str_)
        for part in (answers.names, answers.truth)
    )
    wide = np.unique(names)
    scores = np.stack([answers.scores[:, names == name].sum(1) for name in wide], 1)
    return Answers(answers.rows, truth, wide, scores)


def years_off(bench: Benchmark, decades: list[Answers]) -> float | None:
    """Mean error of the median year, from scores of decades that can be added up."""
    errors = []
    for a in decades:
        starts = np.array([era_start(name) for name in a.names.tolist()])
        share = a.scores / np.maximum(a.scores.sum(1, keepdims=True), 1e-12)
        order = np.argsort(starts)
        first = starts[order][(np.cumsum(share[:, order], 1) >= 0.5).argmax(1)]
        errors.append(np.abs(first + DECADE // 2 - bench.years[a.rows]))
    found = np.concatenate(errors)
    return float(found.mean()) if len(found) else None


SAMPLE = 2000
SEED = 20051
FOLDS_ASKING = 2 * FOLDS
"""Parts of all series that ask in turn for a calibration, each within one of the folds: eight of
them are a fold's training series. The smaller a part, the more has the space learnt in which it
asks, and the more is that like the space which is calibrated; but each costs as much."""


def label_names(bench: Benchmark, kind: str) -> np.ndarray:
    """The labels of a kind as the catalog would have them, empty where unknown; (N,) str."""
    if kind == "author":
        return bench.manifest.authors
    if kind == "genre":
        return bench.genres
    width = WIDE_YEARS if kind == WIDE else DECADE
    years = bench.years.tolist()
    return np.array([era_of(year, width) if year != NO_YEAR else "" for year in years])


def labelled_of(bench: Benchmark, vectors: np.ndarray, rows: np.ndarray) -> Labelled:
    """Some pictures of a benchmark as the calibration takes them; rows (M,)."""
    codes, names = {}, {}
    for kind in KINDS:
        codes[kind], names[kind] = _coded(label_names(bench, kind)[rows])
    _, title = np.unique(bench.manifest.series[rows], return_inverse=True)
    return Labelled(
        unit(vectors[rows]).astype(np.float32), np.arange(len(rows)), title.reshape(-1),
        codes["author"], codes["genre"], codes["era"], names,
    )  # fmt: skip


def in_wide_eras(bench: Benchmark, data: Labelled, rows: np.ndarray) -> Labelled:
    """The same pictures as a catalog has them that is built with wide eras; rows (M,)."""
    codes, names = _coded(label_names(bench, WIDE)[rows])
    return replace(data, era=codes, names={**data.names, "era": names}, era_years=WIDE_YEARS)


def _coded(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    found, inverse = np.unique(labels, return_inverse=True)
    shift = int((found == "").sum())  # "" sorts first
    return inverse.reshape(-1) - shift, tuple(str(label) for label in found[shift:])


@dataclass(frozen=True)
class Fold:
    """The product, built on some series and asked about others; kinds are KINDS and WIDE.

    Shapes:  probabilities kind -> (Q, C), labels kind -> (C,)
    """

    rows: np.ndarray
    labels: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    parts: dict[str, dict[str, np.ndarray]]


def ask_product(
    bench: Benchmark,
    vectors: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    calibration: Calibration,
    wide: Calibration,
    deviations: np.ndarray,
) -> Fold:
    """What a generation of `train` says of `test`; by kind and by part (vote, head, both).

    `wide` is the calibration of one with wide eras, whose other labels are the same.

    Shapes:  vectors (N, D), train (M,), test (Q,), deviations (N,)
    """
    data = labelled_of(bench, vectors, train)
    widened = in_wide_eras(bench, data, train)
    heads, wide_heads = fitted_heads(data), fitted_heads(widened, ("era",))
    built = [(kind, kind, data, heads, calibration) for kind in KINDS]
    built.append((WIDE, "era", widened, wide_heads, wide))
    asked = unit(vectors[test])
    similarity = asked @ data.vectors.T
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : calibration.neighbours]
    case = Case(np.arange(len(test)), np.take_along_axis(similarity, order, 1), order)
    labels, both, parts = {}, {}, {}
    foreign = np.zeros(len(test))
    for name, kind, data, heads, calibration in built:
        names = np.array(data.labels(kind), dtype=np.str_)
        if not len(names):
            continue
        head = heads.get(kind)
        held = None
        if head is not None:
            held = HeldOut(head.scores(asked), head.stranger(asked))
        votes = Votes(
            data.codes(kind), calibration.temperature[kind], calibration.tempering[kind],
            calibration.tail[kind], calibration.head_weight[kind], calibration.vote_weight[kind],
            data.labels(kind) if kind == "era" else (),
            calibration.era_spread if kind == "era" else 0.0, calibration.sharpness[kind],
            calibration.vote_kept[kind],
        )  # fmt: skip
        labels[name] = names
        both[name] = votes.probabilities(case, held)
        if kind == "author":
            usual = replace(calibration, usual_deviation=UsualDeviation.of(deviations[train]))
            foreign = usual.foreign_shares(Asked(case, held).features(votes), deviations[test])
        else:
            sizes = np.bincount(data.codes(kind)[data.codes(kind) >= 0], minlength=len(names))
            both[name] = humbled(both[name], sizes, foreign)
        alone = replace(votes, head_weight=0.0, vote_weight=1.0, sharpness=1.0)
        parts[name] = {"the neighbours' vote alone": alone.probabilities(case, held)}
        if held is not None:
            parts[name][HEAD_ALONE] = held.scores
    return Fold(test, labels, both, parts)


def measure_labels(
    ground: Ground, space: Space, frozen: Space, progress: Callable[[int, int], None] | None = None
) -> LabelResult:
    """All label figures of a space."""
    bench = ground.store.bench
    folds = series_folds(bench.manifest)
    known = several_series(bench.manifest)
    still = ground.raw(frozen)
    gathered: dict[tuple[str, str], list[Answers]] = {}
    for fold in range(FOLDS):
        train = np.flatnonzero((folds != fold) & ~ground.blank)
        test = np.flatnonzero((folds == fold) & ~ground.blank)
        if not len(test):
            continue
        calibration, wide = _calibrated(ground, space, train)
        vectors = ground.kept("fold", space, train).galleries[0].vectors
        deviations = np.full(len(bench), np.nan)
        if space.feature == "statistics":
            deviations = deviations_from(ground.raw(space), train)
        found = ask_product(bench, vectors, train, test, calibration, wide, deviations)
        for kind, names in found.labels.items():
            truth = label_names(bench, kind)[test]
            asks = (truth != "") & (known[test] if kind == "author" else True)
            ways = {"vote and head": found.probabilities[kind], **found.parts[kind]}
            for way, scores in ways.items():
                gathered.setdefault((kind, way), []).append(
                    Answers(test[asks], truth[asks], names, scores[asks])
                )
            if kind == WIDE:
                continue
            for way, scores in _baselines(still, train, test, bench, kind, names).items():
                answers = Answers(test[asks], truth[asks], names, scores[asks])
                gathered.setdefault((kind, way), []).append(answers)
                if kind == "era":
                    gathered.setdefault((WIDE, way), []).append(summed(answers))
        if progress:
            progress(fold + 1, FOLDS)
    result = LabelResult()
    order = (*KINDS, WIDE)
    told_by = list(dict.fromkeys(way for kind, way in gathered if kind != WIDE))
    listed = sorted(
        gathered.items(), key=lambda item: (order.index(item[0][0]), told_by.index(item[0][1]))
    )
    for (kind, way), told in listed:
        # The head's log-likelihoods cannot be added up to a median.
        dated = kind == WIDE and way != HEAD_ALONE
        years = years_off(bench, gathered["era", way]) if dated else None
        add_figures(result, kind, way, told, bench.manifest.series, years)
    return result


def _calibrated(ground: Ground, space: Space, train: np.ndarray) -> tuple[Calibration, Calibration]:
    """A calibration whose queries the space was not learnt from, as those of a user are, and
    one with wide eras, of which only those are fitted.

    Each part of the training pictures asks in a space of its own that was learnt without it.

    Shapes:  train (M,)
    """
    bench = ground.store.bench
    parts = []
    if space.learns:
        turns = series_folds(bench.manifest, FOLDS_ASKING)[train]
        for turn in np.unique(turns):
            aside = turns == turn
            vectors = ground.kept("fold", space, train[~aside]).galleries[0].vectors
            parts.append((labelled_of(bench, vectors, train), aside))
    else:
        everyone = np.ones(len(train), bool)
        vectors = ground.kept("fold", space, train).galleries[0].vectors
        parts.append((labelled_of(bench, vectors, train), everyone))

    def fitted(parts: Sequence[tuple[Labelled, np.ndarray]], kinds: Sequence[str]) -> Calibration:
        (first, among), *others = parts
        return fit(first, sample=SAMPLE, seed=SEED, among=among, others=others, kinds=kinds)

    wide = [(in_wide_eras(bench, data, train), asks) for data, asks in parts]
    return fitted(parts, KINDS), fitted(wide, ("era",))


def _baselines(
    still: np.ndarray, train: np.ndarray, test: np.ndarray, bench: Benchmark, kind: str,
    names: np.ndarray,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Scores of the floor, the nearest frozen picture and the linear probe; (Q, C) each."""
    labels = label_names(bench, kind)
    train = train[labels[train] != ""]
    code = np.searchsorted(names, labels[train])
    center, scale = still[train].mean(0), 1.0 / (still[train].std(0) + 1e-6)
    x, y = (still[train] - center) * scale, (still[test] - center) * scale
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (x, y)]
    nearest = (unit[1] @ unit[0].T).argmax(1)
    floor = np.tile(np.bincount(code, minlength=len(names)).astype(float), (len(test), 1))
    return {
        "linear probe on frozen statistics": linear_probe(x, code, len(names), y),
        "nearest frozen picture": np.eye(len(names))[code[nearest]],
        "majority": floor,
    }


def measure_new_catalogs(ground: Ground, space: Space) -> dict[str, float]:
    """What `toonsearch index build` measures on authors that the space has never seen, mean
    over the splits' test halves: labels, calibration, unknown authors.

    Own series are hidden, or the own author; each fifth of the authors is judged by
    parameters from the others.
    """
    bench = ground.store.bench
    found = []
    for split, test in enumerate(ground.test):
        vectors = ground.vectors(space, split, False).full.vectors
        found.append(fit(labelled_of(bench, vectors, test), sample=SAMPLE, seed=SEED).measured)
    names = sorted(set.intersection(*(set(one) for one in found))) if found else []
    return {name: float(np.mean([one[name] for one in found])) for name in names}
