"""Fine-tuning, as one visible loop.

The start is the closed form on the backbone's statistics. A step shows pictures of several
authors, each from several series; the loss joins authors across series, labels, and the distance
to the start. Every `eval_every` steps an average of the weights is measured on authors that no
step sees; the best one wins, mixed with the start where that is better still.

Source:  Wortsman et al. 2022 (WiSE-FT)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from indexer.embedding.preprocess import PixelSpec, prepare
from indexer.training.augmentation import augmented
from indexer.training.data import LabelRules, Samples
from indexer.training.evaluation.retrieval import Gallery, near_duplicates
from indexer.training.features import pictures_of
from indexer.training.losses import CosineHead, contrastive, label_loss, near_start
from indexer.training.model import DIMENSION, StyleNetwork
from schemas.errors import InputError
from schemas.images import grey_thumbnail
from schemas.progress import Progress
from schemas.storage.fsio import replace_file, storage_error

MIXTURES = (0.25, 0.5, 0.75, 1.0)
MATRIX_LR, HEAD_LR = 2e-5, 2e-3
LABEL_WEIGHTS = {"author": 0.5, "genre": 0.2, "era": 0.2}
START_WEIGHT = 0.05
AVERAGE_DECAY = 0.98
WARM_UP_STEPS = 20
MAX_GRADIENT = 1.0
STATE_FILE = "state.safetensors"
DIGEST_BYTES = 32
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class TrainSettings:
    """All that a run depends on besides its data."""

    backbone: str = "lite0"
    weights: str | None = None
    random_weights: bool = False
    steps: int = 300
    eval_every: int = 50
    patience: int = 3
    authors: int = 8
    pictures_each: int = 4
    lr: float = 5e-5
    dimension: int = DIMENSION
    seed: int = 0
    rules: LabelRules = field(default_factory=LabelRules)


@dataclass
class RunState:
    """Where a run stands. `history` has a row for each evaluation: step, loss, R@1 of unseen
    authors."""

    step: int = 0
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
    """One run: the network, its heads, where it stands."""

    def __init__(
        self,
        style: StyleNetwork,
        samples: Samples,
        settings: TrainSettings,
        spec: PixelSpec,
        folder: Path,
        note: Callable[[str], None] = lambda text: None,
        progress: Progress | None = None,
    ) -> None:
        self.samples, self.settings, self.spec, self.folder = samples, settings, spec, folder
        self.note, self.progress, self.state = note, progress, RunState()
        torch.manual_seed(settings.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.style = style.to(self.device).eval()  # batch statistics stay those of the start
        names, dimension = samples.classes.names, style.matrix.shape[1]
        self.heads = nn.ModuleDict(
            {kind: CosineHead(dimension, max(1, len(names[kind]))) for kind in names}
        ).to(self.device)
        backbone = list(style.statistics.parameters())
        groups = [
            {"params": backbone, "lr": settings.lr, "weight_decay": 0.0},
            {"params": [style.matrix], "lr": MATRIX_LR, "weight_decay": 0.0},
            {"params": list(self.heads.parameters()), "lr": HEAD_LR},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=1e-2)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._lr_share)
        self.average = AveragedModel(style, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY))
        self.start, self.best = _copy(style), _copy(style)
        self._evaluated: tuple[list[np.ndarray], Gallery] | None = None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="augment")

    def run(self) -> list[dict[str, float]]:
        """Train until the steps are done or nothing gets better; resumes by itself.

        Afterwards the network holds the best mixture. Returns the history of evaluations.

        Errors:  InputError when memory runs out
        """
        found = load_state(self.folder)
        if found is not None:
            self._restore(*found)
        else:
            self.state.best_r_at_1 = self._record(self.style, 0.0)
        s = self.settings
        try:
            while self.state.step < s.steps and not self._stops_early():
                loss = self._step(self.state.step)
                if not np.isfinite(loss):
                    raise InputError(
                        f"training diverged at step {self.state.step + 1} (loss {loss})",
                        "Lower the learning rate and start over with --fresh.",
                    )
                self.state.step += 1
                if self.progress:
                    self.progress(self.state.step, s.steps, f"training, loss {loss:.3f}")
                if self.state.step % s.eval_every == 0 or self.state.step == s.steps:
                    r_at_1 = self._record(self.average.module, loss)
                    if r_at_1 > self.state.best_r_at_1:
                        self.state.best_r_at_1, self.state.best_step = r_at_1, self.state.step
                        self.best = _copy(self.average.module)
                    self._save()
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
        self._mix()
        return self.state.history

    def _stops_early(self) -> bool:
        waited = (self.state.step - self.state.best_step) // self.settings.eval_every
        return waited >= self.settings.patience

    def _lr_share(self, step: int) -> float:
        warm = min(1.0, (step + 1) / WARM_UP_STEPS)
        return float(warm * 0.5 * (1.0 + np.cos(np.pi * step / max(1, self.settings.steps))))

    def _step(self, number: int) -> float:
        s, samples = self.settings, self.samples
        rows, seeds = samples.batch(number, s.authors, s.pictures_each, s.seed)
        images = pictures_of(samples.bench.part(rows), self.spec.decode_px)
        rngs = [np.random.default_rng(seed) for seed in seeds]
        pixels = np.stack(
            list(self._threads.map(lambda i, rng: augmented(i, self.spec, rng), images, rngs))
        )

        def on(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

        with torch.autocast(self.device.type, torch.bfloat16, self.device.type == "cuda"):
            vectors = self.style(on(pixels))[0].float()
        classes = samples.classes
        loss = contrastive(vectors, on(classes.author[rows]), on(classes.series[rows]))
        for kind, weight in LABEL_WEIGHTS.items():
            shares, balance = samples.shares(kind)
            loss = loss + weight * label_loss(
                self.heads[kind](vectors), on(shares[rows]), on(balance)
            )
        trained = dict(self.style.named_parameters())
        loss = loss + START_WEIGHT * near_start(
            list(trained.values()), [self.start[name] for name in trained]
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([*trained.values(), *self.heads.parameters()], MAX_GRADIENT)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.style)
        return float(loss.detach())

    def _record(self, network: nn.Module, loss: float) -> float:
        r_at_1 = self.unseen_r_at_1(network)
        step = self.state.step
        self.state.history.append({"step": float(step), "loss": loss, "r_at_1": r_at_1})
        self.note(f"step {step}, loss {loss:.3f}, R@1 on unseen authors {r_at_1:.3f}")
        return r_at_1

    def unseen_r_at_1(self, network: nn.Module) -> float:
        """R@1 of a network among the authors that no step sees, own series masked."""
        if self._evaluated is None:
            part = self.samples.bench.part(self.samples.evaluated)
            images = list(pictures_of(part, self.spec.decode_px))
            self._evaluated = (
                [prepare(image, self.spec) for image in images],
                gallery_of(images, part.authors, part.series),
            )
        pictures, gallery = self._evaluated
        vectors = []
        with torch.inference_mode():
            for picture in pictures:
                batch = torch.from_numpy(picture.copy())[None].to(self.device)
                vectors.append(network(batch)[0][0].float().cpu().numpy())
        return r_at_1_of(gallery, np.stack(vectors))

    def _mix(self) -> None:
        """Load the best mixture of start and what was learnt; the start if nothing helps."""
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
