"""Fine-tuning, as one visible loop.

The start is the closed form on the backbone's statistics. A step shows parts of pictures by
several hands, each from several series; the loss joins hands across series, labels, and the
distance to the start. Every `eval_every` steps an average of the weights is measured, beside the
frozen statistics, on authors that no step sees; the best one wins, mixed with the start where
that is better still. Without authors to measure on, the last average is taken.

Source:  Wortsman et al. 2022 (WiSE-FT)
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from indexer.training.augmentation import MADE_HANDS, training_crop
from indexer.training.backbones import MULTIPLE_PX
from indexer.training.branches import (
    Branches,
    TrainedStatistics,
    in_bfloat16,
    read_trained,
    save_trained,
)
from indexer.training.data import Batch, LabelRules, Samples
from indexer.training.evaluation.retrieval import Gallery, near_duplicates
from indexer.training.features import FeatureStore
from indexer.training.logs import NO_LOG, TrainingLog
from indexer.training.losses import CosineHead, contrastive, hand_loss, label_loss
from indexer.training.model import (
    DIMENSION,
    JOINED_DIMENSION,
    SHIPPED_SPEC,
    Projection,
    StyleNetwork,
    fit_projection,
)
from indexer.training.pixels import PreparedPictures
from indexer.vector_index.ranking import unit
from schemas.errors import InputError
from schemas.images import grey_thumbnail
from schemas.progress import Progress
from schemas.storage.fsio import replace_file, storage_error

MIXTURES = (0.25, 0.5, 0.75, 1.0)
MATRIX_LR, HEAD_LR = 2e-4, 2e-3
HAND_WEIGHT = 0.5
LABEL_WEIGHTS = {"genre": 0.1, "era": 0.1}
DROPPED = 0.1
"""Share of the statistics that a step does without."""
AVERAGE_DECAY = 0.995
WARM_UP_STEPS = 50
MAX_GRADIENT = 1.0
PRECISIONS = ("auto", "bfloat16", "float32")
AHEAD = 3
"""Batches that are cut out while a step computes."""
STATE_FILE = "state.safetensors"
TRAINED_FILE = "trained.safetensors"
DIGEST_BYTES = 32
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class TrainSettings:
    """All that a run depends on besides its data."""

    backbone: str = "lite0"
    weights: str | None = None
    random_weights: bool = False
    steps: int = 1000
    eval_every: int = 200
    patience: int = 3
    authors: int = 16
    pictures_each: int = 4
    lr: float = 2e-4
    dimension: int = JOINED_DIMENSION
    seed: int = 0
    rules: LabelRules = field(default_factory=LabelRules)


@dataclass
class RunState:
    """Where a run stands. `history` has a row for each evaluation: step, loss, R@1 of unseen
    authors."""

    step: int = 0
    loss: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    best_r_at_1: float = 0.0


def save_state(folder: Path, state: RunState, tensors: Weights) -> None:
    """Write a state: a digest and a safetensors file, replaced as one.

    Errors:  StorageError when the disk refuses
    """
    data = save(
        {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
        metadata={"state": json.dumps(asdict(state))},
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / STATE_FILE, blake3(data).digest() + data)
    except OSError as error:
        raise storage_error(error, f"the training state in {folder}") from error


def load_state(folder: Path) -> tuple[RunState, Weights] | None:
    """The state of a run, None when it has not begun.

    Errors:  InputError when it is damaged
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        found = path.read_bytes()
        digest, data = found[:DIGEST_BYTES], found[DIGEST_BYTES:]
        if blake3(data).digest() != digest:
            raise ValueError("its digest differs")
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return RunState(**json.loads(header["__metadata__"]["state"])), load(data)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(
            f"the training state {path} cannot be read ({error})", "Start over with --fresh."
        ) from error


class Trainer:
    """One run: the trained branch, its heads, where it stands.

    `frozen` is the closed form of the frozen statistics: what is trained is measured beside it.
    `pictures` are those of the samples, by row. `log` is one of LOGS, `precision` of PRECISIONS.
    """

    def __init__(
        self,
        branches: Branches,
        frozen: Projection,
        start: Projection,
        samples: Samples,
        pictures: PreparedPictures,
        settings: TrainSettings,
        folder: Path,
        note: Callable[[str], None] = lambda text: None,
        progress: Progress | None = None,
        log: str | None = NO_LOG,
        precision: str = "auto",
    ) -> None:
        self.samples, self.pictures, self.settings = samples, pictures, settings
        self.folder, self.note, self.progress = folder, note, progress
        self.branches, self.frozen, self.state = branches, frozen, RunState()
        torch.manual_seed(settings.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.half = in_bfloat16(precision, self.device)
        self.log_kind = log
        self._parts: dict[str, Tensor] = {}
        style = StyleNetwork(TrainedStatistics(branches), start)
        # Batch statistics stay those of the start.
        self.style = style.to(self.device, memory_format=torch.channels_last).eval()
        names, dimension = samples.classes.names, style.matrix.shape[1]
        counts = {kind: max(1, len(names[kind])) for kind in names}
        counts["author"] *= 1 + len(MADE_HANDS)
        self.heads = nn.ModuleDict(
            {kind: CosineHead(dimension, count) for kind, count in counts.items()}
        ).to(self.device)
        groups = [
            {"params": list(branches.trained.parameters()), "lr": settings.lr, "weight_decay": 0.0},
            {"params": [style.matrix], "lr": MATRIX_LR, "weight_decay": 0.0},
            {"params": list(self.heads.parameters()), "lr": HEAD_LR},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=1e-2)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._lr_share)
        self.average = AveragedModel(style, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY))
        self.start, self.best = _copy(style), _copy(style)
        self._gallery: Gallery | None = None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="crops")

    def run(self) -> list[dict[str, float]]:
        """Train until the steps are done or nothing gets better; resumes by itself.

        Afterwards the network holds the best mixture. Returns the history of evaluations.

        Errors:  InputError when memory runs out
        """
        found = load_state(self.folder)
        s = self.settings
        if found is None:
            self.state.best_r_at_1 = self._record(self.style)
        else:
            self._restore(*found)
            self.note(f"going on after step {self.state.step} of {s.steps}")
            if self._is_due() and self.state.history[-1]["step"] != self.state.step:
                self._evaluate()  # it was stopped while it measured
        log = TrainingLog(self.folder, self.log_kind, self.state.step)
        cut: deque[Future[tuple[Batch, Tensor]]] = deque()
        begun = self.state.step
        try:
            while self.state.step < s.steps and not self._stops_early():
                while len(cut) < AHEAD:
                    cut.append(self._threads.submit(self._cut, begun))
                    begun += 1
                rate = float(self.optimizer.param_groups[0]["lr"])
                loss = self._step(*cut.popleft().result())
                if not np.isfinite(loss):
                    raise InputError(
                        f"training diverged at step {self.state.step + 1} (loss {loss})",
                        "Lower the learning rate and start over with --fresh.",
                    )
                self.state.step, self.state.loss = self.state.step + 1, loss
                r_at_1: float | None = None
                if self.progress:
                    self.progress(self.state.step, s.steps, f"training, loss {loss:.3f}")
                if self._is_due():
                    r_at_1 = self._evaluate()
                parts = {name: float(part) for name, part in self._parts.items()}
                log.row(self.state.step, loss=loss, rate=rate, r_at_1=r_at_1, **parts)
        except (MemoryError, RuntimeError) as error:
            if not _no_memory(error):
                raise
            raise InputError(
                f"there is no memory for {s.authors * s.pictures_each} pictures at once",
                "Lower --batch-authors or --pictures-each, or close other programs.",
            ) from error
        except KeyboardInterrupt:
            self._save()
            raise
        finally:
            log.close()
        self._mix()
        return self.state.history

    def _is_due(self) -> bool:
        step, s = self.state.step, self.settings
        return step > 0 and (step % s.eval_every == 0 or step == s.steps)

    def _evaluate(self) -> float:
        """Measure the average, keep it where it is the best so far, save the run."""
        r_at_1 = self._record(self.average.module)
        if r_at_1 > self.state.best_r_at_1 or not len(self.samples.evaluated):
            self.state.best_r_at_1, self.state.best_step = r_at_1, self.state.step
            self.best = _copy(self.average.module)
        self._save()
        return r_at_1

    def _stops_early(self) -> bool:
        if not len(self.samples.evaluated):
            return False
        waited = (self.state.step - self.state.best_step) // self.settings.eval_every
        return waited >= self.settings.patience

    def _lr_share(self, step: int) -> float:
        warm = min(1.0, (step + 1) / WARM_UP_STEPS)
        return float(warm * 0.5 * (1.0 + np.cos(np.pi * step / max(1, self.settings.steps))))

    def _cut(self, number: int) -> tuple[Batch, Tensor]:
        """What a step learns from, and its parts of pictures; (B, CROP_PX, CROP_PX, 3) uint8"""
        s = self.settings
        batch = self.samples.batch(number, s.authors, s.pictures_each, s.seed)
        parts = [
            training_crop(self.pictures[row], np.random.default_rng(seed), made)
            for row, made, seed in zip(
                batch.rows.tolist(), batch.made.tolist(), batch.seeds, strict=True
            )
        ]
        return batch, torch.from_numpy(np.stack(parts))

    def _step(self, batch: Batch, parts: Tensor) -> float:
        samples, classes, rows = self.samples, self.samples.classes, batch.rows

        def on(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

        with torch.autocast(self.device.type, torch.bfloat16, self.half):
            statistics = self.style.statistics(parts.to(self.device))
        rng = np.random.default_rng([self.settings.seed, self.state.step, 1])
        kept = (rng.random(statistics.shape[1]) >= DROPPED) / (1.0 - DROPPED)
        vectors = self.style.embed(statistics.float(), on(kept.astype(np.float32)))
        hands = on(samples.hands(batch))
        parts = {
            "contrast": contrastive(vectors, hands, on(classes.series[rows])),
            "hand": HAND_WEIGHT * hand_loss(self.heads["author"](vectors), hands),
        }
        for kind, weight in LABEL_WEIGHTS.items():
            shares, balance = samples.shares(kind)
            parts[kind] = weight * label_loss(
                self.heads[kind](vectors), on(shares[rows]), on(balance)
            )
        loss = torch.stack(list(parts.values())).sum()
        self._parts = {name: part.detach() for name, part in parts.items()}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        moved = [*self.style.statistics.trained.parameters(), self.style.matrix]
        nn.utils.clip_grad_norm_([*moved, *self.heads.parameters()], MAX_GRADIENT)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.style)
        return float(loss.detach())

    def _record(self, network: nn.Module) -> float:
        r_at_1, step, loss = self.unseen_r_at_1(network), self.state.step, self.state.loss
        self.state.history.append({"step": float(step), "loss": loss, "r_at_1": r_at_1})
        seen = f", R@1 on unseen authors {r_at_1:.3f}" if len(self.samples.evaluated) else ""
        self.note(f"step {step}, loss {loss:.3f}{seen}" if step else f"before the first step{seen}")
        return r_at_1

    def unseen_r_at_1(self, network: nn.Module) -> float:
        """R@1 of a network, beside the frozen statistics, among the authors that no step sees,
        own series masked; 0 where there are none."""
        rows = self.samples.evaluated
        if not len(rows):
            return 0.0
        if self._gallery is None:
            part = self.samples.bench.part(rows)
            images = [Image.fromarray(self.pictures[row]) for row in rows]
            self._gallery = gallery_of(images, part.authors, part.series)
        trained, frozen = [], []
        with torch.inference_mode():
            for number, row in enumerate(rows, 1):
                if self.progress:
                    self.progress(number, len(rows), "measuring on unseen authors")
                batch = torch.from_numpy(self.pictures[row].copy())[None].to(self.device)
                with torch.autocast(self.device.type, torch.bfloat16, self.half):
                    frozen.append(self.branches.frozen(batch)[0].float().cpu().numpy())
                    z = network.statistics(batch).float()
                trained.append(network.embed(z)[0].cpu().numpy())
        beside = self.frozen.apply(np.stack(frozen))
        return r_at_1_of(self._gallery, unit(np.concatenate([beside, np.stack(trained)], 1)))

    def _mix(self) -> None:
        """Load the best mixture of start and what was learnt; the start if nothing helps."""
        if not len(self.samples.evaluated):
            self._load_mixture(1.0)
            return
        scored = [(self.state.history[0]["r_at_1"], 0.0)]
        for share in MIXTURES if self.state.best_step else ():
            self._load_mixture(share)
            scored.append((self.unseen_r_at_1(self.style), share))
        r_at_1, share = max(scored)
        self._load_mixture(share)
        step = float(self.state.step)
        self.state.history.append({"step": step, "mixture": share, "r_at_1": r_at_1})

    def _load_mixture(self, share: float) -> None:
        mixed = {
            name: torch.lerp(start, self.best[name], share) if start.is_floating_point() else start
            for name, start in self.start.items()
        }
        self.style.load_state_dict(mixed)

    def _save(self) -> None:
        tensors = dict(_prefixed("best", self.best))
        for name, module in self._modules().items():
            tensors |= _prefixed(name, module.state_dict())
        for number, entry in self.optimizer.state_dict()["state"].items():
            tensors |= _prefixed(f"optimizer.{number}", entry)
        save_state(self.folder, self.state, tensors)

    def _modules(self) -> dict[str, nn.Module]:
        return {"style": self.style, "average": self.average, "heads": self.heads}

    def _restore(self, state: RunState, tensors: Weights) -> None:
        try:
            for name, module in self._modules().items():
                module.load_state_dict(_part(name, tensors))
            self.best = {k: v.to(self.device) for k, v in _part("best", tensors).items()}
            moments: dict[int, Weights] = {}
            for key, value in _part("optimizer", tensors).items():
                number, _, name = key.partition(".")
                moments.setdefault(int(number), {})[name] = value
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"the training state in {self.folder} does not fit this network",
                "Start over with --fresh.",
            ) from error
        self.state = state
        self.schedule.last_epoch = state.step
        for group, base in zip(self.optimizer.param_groups, self.schedule.base_lrs, strict=True):
            group["lr"] = base * self._lr_share(state.step)


def trained_branches(
    store: FeatureStore,
    samples: Samples,
    settings: TrainSettings,
    folder: Path,
    note: Callable[[str], None] = lambda text: None,
    log: str | None = NO_LOG,
    precision: str = "auto",
) -> tuple[Path, list[dict[str, float]]]:
    """Train a branch on samples whose main pictures are those of a store; resumes by itself.

    Returns the file of its weights and the history of evaluations.

    Errors:  as of `Trainer.run`, and InputError when a picture or the backbone cannot be used
    """
    learnt = samples.train[samples.train < samples.main]
    rows = store.part(learnt).get("statistics").astype(np.float64)
    authors = samples.bench.authors[learnt]
    branches = Branches(store.backbone.load())
    with torch.inference_mode():
        example = torch.zeros(1, *2 * (2 * MULTIPLE_PX,), 3, dtype=torch.uint8)
        width = TrainedStatistics(branches)(example).shape[1]
    dimension = min(DIMENSION, len(learnt) - 1, width)
    frozen = fit_projection(rows, authors, (), dimension)
    start = fit_projection(rows[:, -width:], authors, (), dimension)
    whole = replace(store, bench=samples.bench)
    # They go with the run's folder: gigabytes that nobody needs afterwards.
    pictures = PreparedPictures(samples.bench, SHIPPED_SPEC, folder, whole.digest(), store.progress)
    run = Trainer(
        branches,
        frozen,
        start,
        samples,
        pictures,
        settings,
        folder,
        note,
        store.progress,
        log,
        precision,
    )
    history = run.run()
    file = folder / TRAINED_FILE
    others = {name: getattr(run.style, name) for name in Projection._fields}
    others |= {f"heads.{name}": value for name, value in run.heads.state_dict().items()}
    save_trained(run.branches, others, file)
    return file, history


def learnt_projection(file: Path) -> Projection:
    """What training projects the statistics of its branch to.

    Errors:  as of `read_trained`
    """
    found = read_trained(file)
    return Projection(*(found[name].numpy() for name in Projection._fields))


def gallery_of(images: Iterable[Any], authors: np.ndarray, series: np.ndarray) -> Gallery:
    """Pictures as a gallery, with their near-duplicates found."""
    return Gallery(authors, series, near_duplicates(np.stack([grey_thumbnail(i) for i in images])))


def r_at_1_of(gallery: Gallery, vectors: np.ndarray) -> float:
    """R@1 of a gallery, 0 where no query counts; vectors (N, D)."""
    found = gallery.figures(vectors)
    return float(found.right_at_1.mean()) if len(found.rows) else 0.0


def _copy(network: nn.Module) -> Weights:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _prefixed(name: str, tensors: Weights) -> Weights:
    return {f"{name}.{key}": value for key, value in tensors.items()}


def _part(name: str, tensors: Weights) -> Weights:
    start = f"{name}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def _no_memory(error: Exception) -> bool:
    """Whether memory ran out; on a CPU torch only says so in words."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate" in str(error)
