"""One `toonsearch train`: from a benchmark to a published model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from indexer.embedding.encoder import Encoded
from indexer.embedding.models import (
    DESCRIPTION_FILE,
    MODEL_FILE,
    ModelDescription,
    verified_network,
)
from indexer.embedding.preprocess import prepare
from indexer.labels.predict import LabelModel
from indexer.training.branches import Branches
from indexer.training.data import Benchmark, Samples, apply_rules, unseen_authors
from indexer.training.export import (
    Export,
    checked_pictures,
    describe,
    fit_labels,
    joined_network,
    write_model,
)
from indexer.training.features import Backbone, FeatureStore, digest_of, pictures_of
from indexer.training.model import SHIPPED_SPEC, export_graph, export_style, run_graph
from indexer.training.trainer import (
    STATE_FILE,
    TrainSettings,
    gallery_of,
    learnt_projection,
    r_at_1_of,
    trained_branches,
)
from schemas.errors import InputError, PartlyDoneError
from schemas.progress import Progress
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

RUNS = ".runs"


@dataclass
class TrainReport:
    """What training gave. R@1 are of authors that no step saw; `folder` is None when nothing
    was published."""

    model: str
    folder: Path | None
    before: float
    after: float
    history: list[dict[str, float]] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)


class Job:
    """What `toonsearch train` is asked for: data, settings, the model to beat, where results go.

    `known` are embeddings of all pictures by the base model, where the catalog has them; `note`
    is told each evaluation.
    """

    def __init__(
        self,
        bench: Benchmark,
        settings: TrainSettings,
        base: Path,
        models: Path,
        cache: Path | None = None,
        known: Encoded | None = None,
        *,
        force: bool = False,
        fresh: bool = False,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.bench, self.settings, self.base, self.models = bench, settings, base, models
        self.known, self.force, self.fresh = known, force, fresh
        self.note, self.cache = note, cache
        self.progress: Progress | None = None
        self.classes = apply_rules(bench, settings.rules)
        self.unseen = unseen_authors(bench, settings.seed)
        self.samples = Samples(bench, self.classes, self.unseen)
        weights = None if settings.weights is None else Path(settings.weights)
        self.backbone = Backbone(settings.backbone, weights, settings.random_weights)

    @property
    def store(self) -> FeatureStore:
        """Features of all pictures."""
        return FeatureStore(self.bench, self.cache, self.base, self.progress, self.backbone)

    def encoded(self) -> Encoded:
        """Embeddings of all pictures by the base model."""
        if self.known is None:
            rows = self.store.get("encoded")
            self.known = Encoded(rows[:, :-1], rows[:, -1])
        return self.known

    def unseen_r_at_1(self, vectors: np.ndarray) -> float:
        """R@1 of unseen authors by vectors of all pictures; (N, D)."""
        rows = self.samples.evaluated
        part = self.bench.part(rows)
        gallery = gallery_of(pictures_of(part, None), part.authors, part.series)
        return r_at_1_of(gallery, vectors[rows])

    def digest(self) -> str:
        """Changes whenever a picture or a label does."""
        bench = self.bench
        labels = [bench.authors.tolist(), bench.series.tolist(), bench.genres, bench.years.tolist()]
        return digest_of([self.store.digest(), *labels])


def train_heads(job: Job) -> TrainReport:
    """`--quick`: the network stays, heads are fitted; minutes even on two cores.

    The model shares its space with the base model: no picture is embedded again.

    Errors:  InputError when the data cannot be used
    """
    about = ModelDescription.read(job.base)
    encoded = job.encoded()
    r_at_1 = job.unseen_r_at_1(encoded.vectors)
    report = TrainReport("", None, r_at_1, r_at_1)
    labels = _labels(job, report, encoded)
    network = verified_network(job.base / MODEL_FILE, about)
    export = describe(
        network, about.dimension, about.pixel_spec, _provenance(job, report, "heads only"), labels
    )
    export.description["model_id"] = about.model_id
    return _publish(job, report, replace(export, model_id=about.model_id))


def train_style(job: Job) -> TrainReport:
    """Fine-tune the backbone from the closed form, then as `train_heads`.

    Errors:  InputError when the data or the backbone cannot be used, or memory runs out
             PartlyDoneError when unseen authors are found less often than before (not forced)
    """
    s, samples = job.settings, job.samples
    export_graph(Branches(job.backbone.load()))  # what cannot be exported is not trained
    before = job.unseen_r_at_1(job.encoded().vectors)
    folder = job.models / RUNS / digest_of([asdict(s), job.digest()])
    if job.fresh:
        (folder / STATE_FILE).unlink(missing_ok=True)
    file, history = trained_branches(job.store, samples, s, folder, job.note)
    both = replace(job.backbone, trained=file)
    store = replace(job.store, backbone=both).part(samples.train)
    dimension = min(s.dimension, len(samples.train) - 1)
    style, _ = joined_network(store, learnt_projection(file), dimension)
    network, _ = export_style(style, checked_pictures(job.bench))
    encoded = _encoded_by(network, job, dimension)
    report = TrainReport("", None, before, job.unseen_r_at_1(encoded.vectors), history)
    labels = _labels(job, report, encoded)
    prefix = "trained-" + "".join(c if c.isalnum() else "-" for c in s.backbone.lower())[:32]
    provenance = _provenance(job, report, "fine-tuned from the closed form")
    export = describe(network, dimension, SHIPPED_SPEC, provenance, labels, prefix)
    published = _publish(job, report, export)
    shutil.rmtree(folder, ignore_errors=True)
    return published


def catalog_encoded(layout: Layout, bench: Benchmark, model: Path) -> Encoded | None:
    """The model's embeddings of a catalog's pictures, None unless all of them are there.

    Shapes:  N in the benchmark's order
    """
    import pyarrow.compute as pc

    about = ModelDescription.read(model)
    catalog = Catalog(layout)
    table = catalog.read("vectors")
    own = pc.and_(
        pc.equal(table["model_id"], about.model_id),
        pc.equal(table["preprocessing"], about.pixel_spec.digest),
    )
    table = table.filter(own)
    places = {key: place for place, key in enumerate(table["picture_id"].to_pylist())}
    pictures = catalog.read("pictures", ["picture_id", "file"]).to_pylist()
    at = {row["file"]: places.get(row["picture_id"]) for row in pictures if row["file"]}
    chosen = [at.get(path) for path in bench.paths]
    if not chosen or None in chosen:
        return None
    table = table.take(chosen)
    vectors = np.asarray(table["vector"].combine_chunks().values).reshape(len(chosen), -1)
    return Encoded(vectors, table["ood"].to_numpy())


def _encoded_by(network: bytes, job: Job, dimension: int) -> Encoded:
    run, count = run_graph(network), len(job.bench)
    vectors, ood = np.empty((count, dimension), np.float32), np.empty(count, np.float32)
    for row, image in enumerate(pictures_of(job.bench, SHIPPED_SPEC.decode_px)):
        (vectors[row],), (ood[row],) = run(prepare(image, SHIPPED_SPEC)[None])[:2]
        if job.progress:
            job.progress(row + 1, count, "embedding")
    return Encoded(vectors, ood)


def _labels(job: Job, report: TrainReport, encoded: Encoded) -> LabelModel:
    labels = fit_labels(encoded.vectors, encoded.ood, job.classes)
    if not labels.heads:
        raise InputError(
            "there is only one class of each label: there is nothing to distinguish",
            "Add pictures by other authors.",
        )
    report.measured = labels.calibration.measured
    report.classes = {kind: len(labels.labels[kind].names) for kind in labels.heads}
    return labels


def _provenance(job: Job, report: TrainReport, method: str) -> dict[str, Any]:
    """What a model's description says of how it came to be."""
    authors = set(job.bench.authors.tolist()) - job.unseen - {""}
    inherited = json.loads((job.base / DESCRIPTION_FILE).read_bytes()).get("provenance", {})
    if method == "heads only":  # the network still knows whom it was fitted on
        authors |= set(inherited.get("authors", []))
    return {
        "method": method,
        "settings": asdict(job.settings),
        "data": {
            "name": Path(job.bench.name).name,
            "digest": job.digest(),
            "pictures": len(job.bench),
        },
        "authors": sorted(authors),
        "unseen_authors": sorted(job.unseen),
        "base_model": job.base.name,
        "r_at_1_unseen": {"before": report.before, "after": report.after},
        "heads": report.measured,
        "history": report.history,
        "torch": torch.__version__.split("+")[0],
        "onnx": onnx.__version__,
    }


def _publish(job: Job, report: TrainReport, export: Export) -> TrainReport:
    """Write the model unless it finds unseen authors less often than the base model."""
    if report.after < report.before and not job.force:
        raise PartlyDoneError(
            f"nothing is published: R@1 of unseen authors is {report.after:.3f}, that of"
            f" {job.base.name} {report.before:.3f}",
            "--force publishes it all the same.",
        )
    mark = digest_of([export.description["provenance"], report.measured])[:8]
    report.model = f"{export.model_id}-{mark}"
    report.folder = write_model(export, job.models, report.model)
    return report
