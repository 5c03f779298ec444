"""Fine-tuning, as one visible loop.

The start is the closed form on the backbone's statistics. A step shows pictures of several
authors, each from several series; what it learns is pulled by hands across series, by labels,
and back to the start. Every look measures authors that no step sees; the weights' average that
found most of their hands wins, mixed with the start where that is better still (WiSE-FT).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from indexer.embedding.preprocess import PixelSpec
from indexer.training.data import LabelRules
from indexer.training.losses import CosineHead, contrastive, label_loss, near_start
from indexer.training.model import CLIP, Projection
from indexer.training.samples import Samples
from indexer.training.whitening import DIMENSION
from schemas.errors import InputError
from schemas.storage.fsio import replace_file, storage_error, write_file

# --- Where a training run stands, on disk: safetensors and JSON, never a pickle.
#
#     <run>/state.json          step, figures so far, digest of the numbers
#           state-<step>.safetensors   weights, their averages, the optimiser's moments
#
# The numbers are written first and the pointer to them last, so that a kill leaves the state
# before or the state after. A run is found again by what it depends on: settings and data.

STATE_FILE = "state.json"
FORMAT_VERSION = 1


@dataclass
class RunState:
    """Numbers by name, and what happened so far.

    `history` has a row for each look: step, loss, R@1 on unseen authors.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    best_r_at_1: float = 0.0
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


def save_state(folder: Path, state: RunState) -> None:
    """Write a state; the one before it is removed afterwards.

    Errors:  InputError when the disk refuses
    """
    name = f"state-{state.step}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data = save({key: value.contiguous() for key, value in state.tensors.items()})
        about = {
            "format_version": FORMAT_VERSION,
            "file": {"name": name, "bytes": len(data), "blake3": blake3(data).hexdigest()},
            "step": state.step,
            "history": state.history,
            "best_step": state.best_step,
            "best_r_at_1": state.best_r_at_1,
        }
        write_file(folder / name, data)
        replace_file(folder / STATE_FILE, json.dumps(about, indent=1).encode())
        for old in folder.glob("state-*.safetensors"):
            if old.name != name:
                old.unlink()
    except OSError as error:
        raise storage_error(error, f"the training state in {folder}") from error


def load_state(folder: Path) -> RunState | None:
    """The state of a run, None when it has not begun.

    Errors:  InputError when it is damaged
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    hint = "Start over with --fresh."
    try:
        about = json.loads(path.read_bytes())
        if about["format_version"] != FORMAT_VERSION:
            raise InputError(f"{path} has format {about['format_version']!r}", hint)
        facts = about["file"]
        data = (folder / Path(facts["name"]).name).read_bytes()
        if len(data) != facts["bytes"] or blake3(data).hexdigest() != facts["blake3"]:
            raise InputError(f"the training state in {folder} is damaged", hint)
        return RunState(
            int(about["step"]), list(about["history"]), int(about["best_step"]),
            float(about["best_r_at_1"]), load(data),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(
            f"the training state in {folder} cannot be read ({error})", hint
        ) from error


MIXTURES = (0.25, 0.5, 0.75, 1.0)
WARM_UP_STEPS = 20
MAX_GRADIENT = 1.0


@dataclass(frozen=True)
class TrainSettings:
    """All that a run depends on besides its data."""

    backbone: str = "lite0"
    weights: str | None = None
    random_weights: bool = False
    steps: int = 300
    look_every: int = 50
    patience: int = 3
    authors: int = 8
    pictures_each: int = 4
    rate: float = 5e-5
    matrix_rate: float = 2e-5
    head_rate: float = 2e-3
    author_weight: float = 0.5
    genre_weight: float = 0.2
    era_weight: float = 0.2
    start_weight: float = 0.05
    average: float = 0.98
    dimension: int = DIMENSION
    seed: int = 0
    rules: LabelRules = field(default_factory=LabelRules)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class TrainedStyle(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """A network of statistics and the matrix that projects them.

    Shapes:  (B, H, W, 3) uint8 -> (B, D) unit
    """

    def __init__(self, statistics: nn.Module, projection: Projection) -> None:
        super().__init__()
        self.statistics = statistics
        for name in ("center", "scale"):
            value = np.asarray(getattr(projection, name), np.float32)
            self.register_buffer(name, torch.from_numpy(value))
        self.matrix = nn.Parameter(torch.from_numpy(np.asarray(projection.matrix, np.float32)))

    def forward(self, pixels: Tensor) -> Tensor:
        z = ((self.statistics(pixels).float() - self.center) * self.scale).clamp(-CLIP, CLIP)
        return functional.normalize(z @ self.matrix, dim=1)

    def projection(self) -> Projection:
        """The matrix as it is now, for export."""
        return Projection(*(
            part.detach().cpu().numpy() for part in (self.center, self.scale, self.matrix)
        ))  # fmt: skip


def _no_memory(error: Exception) -> bool:
    """Whether memory ran out; on a CPU torch only says so in words."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate" in str(error)


Progress = Callable[[dict[str, float]], None]


@dataclass
class Trainer:
    """One run: the network, its heads, where it stands."""

    style: TrainedStyle
    samples: Samples
    settings: TrainSettings
    spec: PixelSpec
    folder: Path
    tell: Progress | None = None

    def __post_init__(self) -> None:
        torch.manual_seed(self.settings.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        names, dimension = self.samples.classes.names, self.style.matrix.shape[1]
        self.heads = nn.ModuleDict(
            {kind: CosineHead(dimension, max(1, len(names[kind]))) for kind in names}
        )
        self.style.to(self.device).eval()  # batch statistics stay those of the start
        self.heads.to(self.device)
        self.moving = [p for p in self.style.statistics.parameters() if p.is_floating_point()]
        groups = [
            {"params": self.moving, "lr": self.settings.rate, "weight_decay": 0.0},
            {"params": [self.style.matrix], "lr": self.settings.matrix_rate, "weight_decay": 0.0},
            {"params": list(self.heads.parameters()), "lr": self.settings.head_rate},
        ]
        self.rates = [float(str(group["lr"])) for group in groups]
        self.solver = torch.optim.AdamW(groups, weight_decay=1e-2)
        self.learnt = [*self.moving, self.style.matrix]
        self.start = [p.detach().clone() for p in self.learnt]
        self.average = [p.detach().clone() for p in self.learnt]
        self.best = [p.detach().clone() for p in self.learnt]
        self.state = RunState()

    def run(self) -> list[dict[str, float]]:
        """Train until the steps are done or nothing gets better; resumes by itself.

        Afterwards the network holds the best mixture. Returns the history of looks.

        Errors:  InputError when memory runs out
        """
        kept = load_state(self.folder)
        if kept is not None:
            self._restore(kept)
        else:
            self.state.best_r_at_1 = self._look(0.0)
        try:
            while self.state.step < self.settings.steps and not self._tired():
                loss = self._step(self.state.step)
                if not np.isfinite(loss):
                    raise InputError(
                        f"training went astray at step {self.state.step + 1} (loss {loss})",
                        "Lower --rate and start over with --fresh.",
                    )
                self.state.step += 1
                last = self.state.step == self.settings.steps
                if self.state.step % self.settings.look_every == 0 or last:
                    self._compare(loss)
                    self._save()
                elif self.tell:
                    self.tell({"step": self.state.step, "loss": loss})
        except (MemoryError, RuntimeError) as error:
            if not _no_memory(error):
                raise
            raise InputError(
                f"there is no memory for {self.settings.authors * self.settings.pictures_each}"
                " pictures at once",
                "Lower --batch-authors or --pictures-each, or close other programs.",
            ) from error
        except KeyboardInterrupt:
            self._save()
            raise
        self._mix()
        return self.state.history

    def _tired(self) -> bool:
        looks = (self.state.step - self.state.best_step) // self.settings.look_every
        return looks >= self.settings.patience

    def _step(self, number: int) -> float:
        s, classes = self.settings, self.samples.classes
        rows, pixels = self.samples.batch(number, s.authors, s.pictures_each, s.seed, self.spec)
        warm = min(1.0, (number + 1) / WARM_UP_STEPS)
        cool = 0.5 * (1.0 + np.cos(np.pi * number / max(1, s.steps)))
        for group, rate in zip(self.solver.param_groups, self.rates, strict=True):
            group["lr"] = rate * warm * cool

        def on(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values[rows])).to(self.device)

        half = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            vectors = self.style(torch.from_numpy(pixels).to(self.device)).float()
        loss = contrastive(vectors, on(classes.author), on(classes.series))
        for kind, weight in (("author", s.author_weight), ("genre", s.genre_weight),
                             ("era", s.era_weight)):  # fmt: skip
            shares, balance = self.samples.shares(kind)
            logits = self.heads[kind](vectors)
            loss = loss + weight * label_loss(logits, on(shares), balance.to(self.device))
        loss = loss + s.start_weight * near_start(self.learnt, self.start)
        self.solver.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([*self.learnt, *self.heads.parameters()], MAX_GRADIENT)
        self.solver.step()
        with torch.no_grad():
            for kept, now in zip(self.average, self.learnt, strict=True):
                kept.lerp_(now, 1.0 - s.average)
        return float(loss.detach())

    def _put(self, values: list[Tensor]) -> list[Tensor]:
        """Give the network these weights; returns those that it had."""
        with torch.no_grad():
            before = [p.detach().clone() for p in self.learnt]
            for parameter, value in zip(self.learnt, values, strict=True):
                parameter.copy_(value)
        return before

    def _look(self, loss: float) -> float:
        found = self.samples.unseen_r_at_1(self.style, self.spec, self.device)
        row = {"step": float(self.state.step), "loss": loss, "r_at_1": found}
        self.state.history.append(row)
        if self.tell:
            self.tell(row)
        return found

    def _compare(self, loss: float) -> None:
        now = self._put(self.average)
        found = self._look(loss)
        self._put(now)
        if found > self.state.best_r_at_1:
            self.state.best_r_at_1, self.state.best_step = found, self.state.step
            self.best = [p.clone() for p in self.average]

    def _mix(self) -> None:
        """The best mixture of start and what was learnt; the start itself if nothing helps."""
        scored = [(self.state.history[0]["r_at_1"], 0.0)]
        for share in MIXTURES if self.state.best_step else ():
            mixed = zip(self.start, self.best, strict=True)
            self._put([torch.lerp(a, b, share) for a, b in mixed])
            scored.append((self.samples.unseen_r_at_1(self.style, self.spec, self.device), share))
        found, share = max(scored)
        mixed = zip(self.start, self.best, strict=True)
        self._put([torch.lerp(a, b, share) for a, b in mixed])
        self.state.history.append(
            {"step": float(self.state.step), "mixture": share, "r_at_1": found}
        )

    def _save(self) -> None:
        tensors: dict[str, Tensor] = {}
        for name, values in self._parts().items():
            tensors |= {f"{name}.{i}": value.detach().cpu() for i, value in enumerate(values)}
        for i, entry in self.solver.state_dict()["state"].items():
            tensors |= {f"solver.{i}.{k}": v.detach().cpu() for k, v in entry.items()}
        self.state.tensors = tensors
        save_state(self.folder, self.state)
        self.state.tensors = {}

    def _parts(self) -> dict[str, list[Tensor]]:
        heads = list(self.heads.parameters())
        return {"now": self.learnt, "heads": heads, "average": self.average, "best": self.best}

    def _restore(self, kept: RunState) -> None:
        try:
            with torch.no_grad():
                for name, values in self._parts().items():
                    for i, value in enumerate(values):
                        value.copy_(kept.tensors[f"{name}.{i}"])
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in kept.tensors.items():
                part, *rest = key.split(".")
                if part == "solver":
                    state.setdefault(int(rest[0]), {})[rest[1]] = value
            body = self.solver.state_dict()
            self.solver.load_state_dict({"state": state, "param_groups": body["param_groups"]})
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"the training state in {self.folder} does not fit this network",
                "Start over with --fresh.",
            ) from error
        kept.tensors = {}
        self.state = kept
