"""From a benchmark to a model in its folder: train, export, measure, refuse or publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from indexer.embedding.encoder import Encoder
from indexer.embedding.in_grey import IN_GREY_FILE
from indexer.embedding.models import MODEL_FILE, ModelDescription, verified_file, verified_network
from indexer.embedding.preprocess import Prepared, prepare
from indexer.embedding.restoration import RESTORATION_FILE
from indexer.labels.head_files import Heads
from indexer.training.augmentation import View, named
from indexer.training.backbones import DEFAULT, load_statistics
from indexer.training.cache import ArrayCache, digest_of
from indexer.training.data import Benchmark, Classes, apply_rules
from indexer.training.export import (
    MIN_COSINE,
    SHIPPED_SPEC,
    Export,
    describe,
    run_graph,
    write_model,
)
from indexer.training.features import FeatureStore, pictures_of, spec_of
from indexer.training.model_heads import fit_heads
from indexer.training.nuisances import NUISANCES
from indexer.training.onnx_graph import append_projection, export_graph, halve_storage, serialize
from indexer.training.restoring import restored
from indexer.training.samples import Samples, unseen_authors
from indexer.training.trainer import Progress, TrainedStyle, Trainer, TrainSettings
from indexer.training.usual import knowing_their_kind, sampled
from indexer.training.whitening import RIDGE, Changed, fit_projection
from schemas.errors import InputError, PartlyDoneError, ToonsearchError

CHECKED_PICTURES = 24
RUNS = ".runs"
Counted = Callable[[str, int, int], None]


@dataclass
class TrainReport:
    """What training gave. R@1 are on authors that no step saw; `folder` is None when nothing
    was published."""

    model: str
    folder: Path | None
    before: float
    after: float
    history: list[dict[str, float]] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    heads: Heads = field(default_factory=lambda: Heads({}), repr=False)


@dataclass
class Job:
    """One `toonsearch train`: data, settings, the model it has to beat, where results go."""

    bench: Benchmark
    settings: TrainSettings
    base: Path
    models: Path
    cache: Path | None = None
    vectors: np.ndarray | None = None
    """Vectors of the base model where they are known already; (N, D)."""
    force: bool = False
    fresh: bool = False
    tell: Progress | None = None
    count: Counted | None = None

    def __post_init__(self) -> None:
        self.classes: Classes = apply_rules(self.bench, self.settings.rules)
        self.unseen = unseen_authors(self.bench, self.settings.seed)
        self.samples = Samples(self.bench, self.classes, self.unseen)
        self.store = FeatureStore(self.bench, ArrayCache(self.cache), self.base, self.count)

    def provenance(self, report: TrainReport, quick: bool) -> dict[str, Any]:
        """What a model's description says of how it came to be."""
        seen = sorted(set(self.bench.manifest.authors.tolist()) - self.unseen - {""})
        return {
            "method": "heads on a frozen network" if quick else "fine-tuned statistics",
            "settings": self.settings.to_json(),
            "seed": self.settings.seed,
            "data": {
                "name": Path(self.bench.name).name,
                "digest": self.data_digest(),
                "pictures": len(self.bench),
            },
            "authors": seen,
            "unseen_authors": sorted(self.unseen),
            "base_model": self.base.name,
            "r_at_1_unseen": {"before": report.before, "after": report.after},
            "heads": report.measured,
            "history": report.history,
            "torch": torch.__version__.split("+")[0],
            "onnx": onnx.__version__,
        }

    def data_digest(self) -> str:
        """Changes whenever a picture or a label does."""
        m = self.bench.manifest
        labels = [m.authors.tolist(), m.series.tolist(), self.bench.all_genres,
                  self.bench.years.tolist()]  # fmt: skip
        return digest_of([self.store.key(None), labels])


def train_heads(job: Job) -> TrainReport:
    """`--quick`: the network stays, heads are fitted; minutes even on two cores.

    The model shares its space with the base model: no picture is embedded again.

    Errors:  InputError when the data cannot be used
    """
    about = ModelDescription.read(job.base)
    vectors = job.vectors if job.vectors is not None else job.store.get("vectors")
    found = job.samples.r_at_1(vectors[job.samples.looked_at])
    report = TrainReport(about.model_id, None, found, found)
    network = verified_network(job.base / MODEL_FILE, about)
    _add_heads(job, report, vectors, network)
    facts = job.provenance(report, True)
    export = describe(
        network, about.dimension, about.pixel_spec, facts,
        restoration=verified_file(job.base, RESTORATION_FILE, about),
        in_grey=verified_file(job.base, IN_GREY_FILE, about),
    )  # fmt: skip
    return _publish(job, report, _same_space(export, about))


def _same_space(export: Export, about: ModelDescription) -> Export:
    """The network is the base's: so is the id of its space."""
    description = {**export.description, "model_id": about.model_id}
    return replace(export, model_id=about.model_id, description=description)


def train_style(job: Job) -> TrainReport:
    """Fine-tune the backbone, then as `train_heads`.

    Errors:  InputError when the data or the backbone cannot be used, or memory runs out
             PartlyDoneError when unseen authors are found less often than before (not forced)
    """
    s = job.settings
    weights = None if s.weights is None else Path(s.weights)
    network, group_weights = load_statistics(s.backbone, weights, s.random_weights)
    run = run_graph(serialize(export_graph(network)))  # what cannot be exported is not trained
    before = _base_r_at_1(job)
    start = digest_of([s.backbone, s.weights, s.random_weights])
    statistics = _statistics(job, run, start)
    train = job.samples.train
    changed = [
        Changed(_statistics(job, run, start, (name, nuisance.view))[train], nuisance.share)
        for name, nuisance in NUISANCES.items()
    ]
    kept = min(s.dimension, len(train) - 1, statistics.shape[1])
    authors = job.bench.manifest.authors[train]
    projection = fit_projection(statistics[train], authors, kept, RIDGE, group_weights, changed)
    style = TrainedStyle(network, projection)
    folder = job.models / RUNS / digest_of([s.to_json(), job.data_digest()])
    if job.fresh:
        for file in folder.glob("state*"):
            file.unlink()
    trainer = Trainer(style, job.samples, s, SHIPPED_SPEC, folder, job.tell)
    history = trainer.run()
    style.cpu()
    report = TrainReport("", None, before, 0.0, history)
    data = serialize(
        halve_storage(append_projection(export_graph(style.statistics), style.projection()))
    )
    _agree(job, data, style)
    encode = run_graph(data)
    found = restored(encode, lambda *asked: _prepared(job, *asked), job.samples.train)
    report.after = job.samples.r_at_1(found.vectors[job.samples.looked_at])
    _add_heads(job, report, found.vectors, data)
    export = describe(
        data, kept, SHIPPED_SPEC, job.provenance(report, False), f"trained-{_plain(s.backbone)}",
        found.restoration, found.in_grey,
    )  # fmt: skip
    report.model = export.model_id
    published = _publish(job, report, export)
    for file in folder.glob("state*"):
        file.unlink()
    return published


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())[:32]


def _base_r_at_1(job: Job) -> float:
    if job.vectors is not None:
        return job.samples.r_at_1(job.vectors[job.samples.looked_at])
    encoder = Encoder.open(job.base)
    part = job.bench.part(job.samples.looked_at)
    images = pictures_of(part, None, encoder.pixel_spec.decode_px)
    rows = [encoder.encode([prepare(image, encoder.pixel_spec)])[0] for image in images]
    return job.samples.r_at_1(np.stack(rows))


def _statistics(
    job: Job,
    run: Callable[[np.ndarray], np.ndarray],
    backbone: str,
    view: tuple[str, View] | None = None,
) -> np.ndarray:
    if job.settings.backbone == DEFAULT and job.settings.weights is None:
        job.store.statistics = run
        return job.store.get("statistics", view)
    name, change = view or ("", None)

    def compute() -> np.ndarray:
        what = f"statistics, {name}" if name else "statistics"
        pictures = _prepared(job, what, None, change)
        return np.stack([run(picture.pixels[None])[0] for picture in pictures])

    key = {**job.store.key(None), "backbone": backbone,
           "spec": spec_of(change, SHIPPED_SPEC).digest,
           "view": named(*view) if view else ""}  # fmt: skip
    return ArrayCache(job.cache).get("backbone", key, compute)


def _prepared(
    job: Job, what: str, rows: np.ndarray | None, view: View | None = None
) -> Iterator[Prepared]:
    part = job.bench if rows is None else job.bench.part(rows)
    for number, image in enumerate(pictures_of(part, view, SHIPPED_SPEC.decode_px), 1):
        if job.count:
            job.count(what, number, len(part))
        yield prepare(image, spec_of(view, SHIPPED_SPEC))


def _agree(job: Job, data: bytes, style: TrainedStyle) -> None:
    """The exported network must agree with torch on real pictures.

    Errors:  ToonsearchError
    """
    run, worst = run_graph(data), 1.0
    rows = np.arange(0, len(job.bench), max(1, len(job.bench) // CHECKED_PICTURES))
    for picture in _prepared(job, "checking the export", rows):
        batch = picture.pixels[None]
        with torch.inference_mode():
            wanted = style(torch.from_numpy(batch.copy()))[0].numpy()
        worst = min(worst, float(run(batch)[0] @ wanted))
    if worst < MIN_COSINE:
        raise ToonsearchError(f"the exported network disagrees with torch (cosine {worst:.6f})")


def _add_heads(job: Job, report: TrainReport, vectors: np.ndarray, network: bytes) -> None:
    heads = fit_heads(vectors.astype(np.float32), job.classes)
    if not heads.heads:
        raise InputError(
            "there is only one class of each label: nothing can be told apart",
            "Add pictures by other authors.",
        )
    looked = _prepared(job, "what is usual", sampled(len(job.bench)))
    heads = knowing_their_kind(heads, network, looked)
    assert heads.calibration is not None
    report.measured = heads.calibration.measured
    report.classes = {kind: len(head.labels) for kind, head in heads.heads.items()}
    report.heads = heads


def _publish(job: Job, report: TrainReport, export: Export) -> TrainReport:
    """Write the model unless it finds unseen authors less often than the base model."""
    if report.after < report.before and not job.force:
        raise PartlyDoneError(
            f"nothing is published: unseen authors are found {report.after:.3f} of the time,"
            f" by {job.base.name} {report.before:.3f}",
            "--force publishes it all the same.",
        )
    export = replace(export, heads=report.heads)
    mark = digest_of([export.description["provenance"], report.measured])[:8]
    name = f"{export.model_id}-{mark}"
    report.model = name
    report.folder = write_model(export, job.models, name)
    return report
