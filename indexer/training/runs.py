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
from torch.nn import functional

from indexer.embedding.encoder import Encoded
from indexer.embedding.models import (
    DESCRIPTION_FILE,
    MAX_MODEL_BYTES,
    MODEL_FILE,
    ModelDescription,
    verified_network,
)
from indexer.embedding.preprocess import prepare
from indexer.labels.knn import PARTS
from indexer.labels.predict import LabelModel
from indexer.labels.softmax import MIN_LABELS, Softmax
from indexer.training.branches import Branches
from indexer.training.confusion import Confusion, genre_confusion
from indexer.training.data import Benchmark, Samples, apply_rules, of_genres, unseen_authors
from indexer.training.export import (
    Export,
    checked_pictures,
    describe,
    fit_labels,
    joined_network,
    write_model,
)
from indexer.training.features import Backbone, FeatureStore, digest_of, pictures_of
from indexer.training.logs import LOG_FILE
from indexer.training.losses import SCALE, CosineHead, label_loss
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
from schemas.images import picture_id_of
from schemas.progress import Progress
from schemas.storage.catalog import Catalog
from schemas.storage.fsio import storage_error
from schemas.storage.layout import Layout

RUNS = ".runs"
LOG_FOLDER = "log"
SOFTMAX_STEPS, SOFTMAX_LR = 200, 0.05


@dataclass
class TrainReport:
    """What training gave. `softmax` are the weights of the network's own in the label probabilities
    (0: it is not heard). R@1 are of authors that no step saw and that decided nothing; `folder`
    is None when nothing was published."""

    model: str
    folder: Path | None
    before: float
    after: float
    history: list[dict[str, float]] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    confusion: Confusion | None = None
    softmax: dict[str, float] = field(default_factory=dict)


class Job:
    """What `toonsearch train` is asked for: data, settings, the model to beat, where results go.

    `known` are embeddings of all pictures by the base model, where the catalog has them; `note`
    is told each evaluation. Of `genres`, if any are named, each is shown as often; `balance` is one
    of BALANCES, `log` one of LOGS (None: events too, where TensorBoard is installed), `precision`
    one of PRECISIONS.
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
        genres: tuple[str, ...] = (),
        balance: str = "sqrt",
        log: str | None = None,
        precision: str = "auto",
    ) -> None:
        if genres:
            bench, rows = of_genres(bench, genres, settings.rules)
            known = None if known is None else Encoded(known.vectors[rows], known.ood[rows])
        self.bench, self.settings, self.base, self.models = bench, settings, base, models
        self.known, self.force, self.fresh = known, force, fresh
        self.note, self.cache, self.log, self.precision = note, cache, log, precision
        self.progress: Progress | None = None
        self.classes = apply_rules(bench, settings.rules)
        self.unseen = unseen_authors(bench, settings.seed)
        self.samples = Samples(
            bench,
            self.classes,
            self.unseen,
            seed=settings.seed,
            balance=balance,
            even_genres=bool(genres),
            titles_aside=True,
        )
        self.backbone = Backbone(settings.backbone, settings.weights, settings.random_weights)

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
        """R@1 of the unseen authors that only measure, by vectors of all pictures; (N, D)."""
        rows = self.samples.measured
        part = self.bench.part(rows)
        gallery = gallery_of(pictures_of(part, None), part.authors, part.series)
        return r_at_1_of(gallery, vectors[rows])

    def digest(self) -> str:
        """Changes whenever a picture or a label does."""
        bench = self.bench
        labels = [bench.authors.tolist(), bench.series.tolist(), bench.genres, bench.years.tolist()]
        sampling = [self.samples.balance, self.samples.even_genres]
        return digest_of([self.store.digest(), *labels, *sampling])


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
    folder = job.models / RUNS / digest_of([asdict(s), job.digest()])
    if job.fresh:
        (folder / STATE_FILE).unlink(missing_ok=True)
    if not (folder / STATE_FILE).is_file():  # what cannot be exported is not trained
        if job.progress:
            job.progress(0, 1, "trying the export")
        _check_export(job.backbone)
    before = job.unseen_r_at_1(job.encoded().vectors)
    file, history = trained_branches(
        job.store, samples, s, folder, job.note, job.log, job.precision
    )
    both = replace(job.backbone, trained=file)
    store = replace(job.store, backbone=both).part(samples.train)
    dimension = min(s.dimension, len(samples.train) - 1)
    if job.progress:
        job.progress(0, 1, "exporting")
    style, _ = joined_network(store, learnt_projection(file), dimension)
    network, _ = export_style(style, checked_pictures(job.bench))
    encoded = _encoded_by(network, job, dimension)
    report = TrainReport("", None, before, job.unseen_r_at_1(encoded.vectors), history)
    softmax = fit_softmax(samples, encoded.vectors, s.seed)
    labels = _labels(job, report, encoded, softmax)
    prefix = "trained-" + "".join(c if c.isalnum() else "-" for c in s.backbone.lower())[:32]
    provenance = _provenance(job, report, "fine-tuned from the closed form")
    export = describe(network, dimension, SHIPPED_SPEC, provenance, labels, prefix, softmax)
    published = _publish(job, report, export)
    if published.folder is not None:
        _keep_log(folder, published.folder / LOG_FOLDER)
    shutil.rmtree(folder, ignore_errors=True)
    return published


def _keep_log(run: Path, target: Path) -> None:
    """Move the run's log to the model that came of it."""
    for file in [*run.glob(LOG_FILE), *run.glob("events.*")]:
        try:
            target.mkdir(exist_ok=True)
            shutil.move(file, target / file.name)
        except OSError as error:
            raise storage_error(error, f"the log {target}") from error


def _check_export(backbone: Backbone) -> None:
    branches = Branches(backbone.load())
    try:
        size = len(export_graph(branches))
        if size > MAX_MODEL_BYTES:
            raise ValueError(f"{size >> 20} MiB are more than a graph may hold")
    except Exception as error:  # the exporter has many
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"the backbone {backbone.name} cannot be exported to ONNX ({reason})",
            "Choose another one with --backbone.",
        ) from error


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


def fit_softmax(samples: Samples, vectors: np.ndarray, seed: int) -> Softmax | None:
    """Softmax heads on a network's vectors, trained as those that trained it, on the same pictures;
    None where there is only one class of everything.

    Shapes:  vectors (N, D) unit
    Errors:  InputError when a picture cannot be read
    """
    torch.manual_seed(seed)
    bench, rows = samples.bench, samples.train
    x = torch.from_numpy(np.asarray(vectors[rows], np.float32))
    names: dict[str, tuple[str, ...]] = {}
    weight: dict[str, np.ndarray] = {}
    for kind, all_names in samples.classes.names.items():
        shares, balance = samples.shares(kind)
        present = np.flatnonzero(shares[rows].sum(0) > 0)
        if len(present) < MIN_LABELS:
            continue
        target = torch.from_numpy(shares[rows][:, present])
        head = CosineHead(x.shape[1], len(present))
        optimizer = torch.optim.Adam(head.parameters(), lr=SOFTMAX_LR)
        for _ in range(SOFTMAX_STEPS):
            optimizer.zero_grad()
            label_loss(head(x), target, torch.from_numpy(balance[present])).backward()
            optimizer.step()
        names[kind] = tuple(all_names[place] for place in present.tolist())
        weight[kind] = (SCALE * functional.normalize(head.weight.detach(), dim=1)).numpy()
    if not names:
        return None
    try:
        ids = [picture_id_of((bench.root / bench.paths[row]).read_bytes()) for row in rows]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    return Softmax.of(names, weight, ids)


def _labels(
    job: Job, report: TrainReport, encoded: Encoded, softmax: Softmax | None = None
) -> LabelModel:
    """Labels and their figures; a softmax is one more voice, weighed on the titles kept aside."""
    network: dict[str, np.ndarray] = {}
    if softmax is not None:
        learnt = np.isin(np.arange(len(job.bench)), job.samples.train)
        data = job.classes.dataset(encoded.vectors.astype(np.float32), encoded.ood)
        network = softmax.held_out(data.vectors, data.names, data.codes, learnt, data.title)
    labels = fit_labels(encoded.vectors, encoded.ood, job.classes, network)
    if not labels.heads:
        raise InputError(
            "there is only one class of each label: there is nothing to distinguish",
            "Add pictures by other authors.",
        )
    report.measured = labels.calibration.measured
    if softmax is not None:
        at = PARTS.index("network")
        report.softmax = {kind: labels.calibration.weights[kind][at] for kind in softmax.names}
    report.classes = {kind: len(labels.labels[kind].names) for kind in labels.heads}
    if "genre" in labels.heads:
        data = job.classes.dataset(encoded.vectors.astype(np.float32), encoded.ood)
        report.confusion = genre_confusion(data)
    return labels


def _provenance(job: Job, report: TrainReport, method: str) -> dict[str, Any]:
    """What a model's description says of how it came to be."""
    authors = set(job.bench.authors.tolist()) - job.unseen - {""}
    inherited = json.loads((job.base / DESCRIPTION_FILE).read_bytes()).get("provenance", {})
    if method == "heads only":  # the network still knows whom it was fitted on
        authors |= set(inherited.get("authors", []))
    return {
        "method": method,
        "settings": asdict(job.settings) | {"balance": job.samples.balance},
        "data": {
            "name": Path(job.bench.name).name,
            "digest": job.digest(),
            "pictures": len(job.bench),
        },
        "authors": sorted(authors),
        "unseen_authors": sorted(job.unseen),
        "measured_authors": sorted(set(job.bench.authors[job.samples.measured].tolist())),
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
            "--force publishes it all the same, without training again.",
        )
    mark = digest_of([export.description["provenance"], report.measured])[:8]
    report.model = f"{export.model_id}-{mark}"
    report.folder = write_model(export, job.models, report.model)
    return report
