"""Where a training run stands, on disk: safetensors and JSON, never a pickle.

    <run>/state.json          step, figures so far, digest of the numbers
          state-<step>.safetensors   weights, their averages, the optimiser's moments

The numbers are written first and the pointer to them last, so that a kill leaves the state
before or the state after. A run is found again by what it depends on: settings and data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from blake3 import blake3
from safetensors import SafetensorError
from safetensors.torch import load, save

from schemas.durable import replace_file, storage_error, write_file
from schemas.errors import InputError

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
