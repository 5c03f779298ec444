"""Cases of fuzzing: a kind and a seed make a folder of inputs, which is held against rules.

A kind is a module with `make(rng, folder)`, which writes the inputs, and `check(folder)`, which
raises when a rule does not hold. What was written is enough to check it again, whatever becomes
of the generators.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

KINDS = tuple(
    kind
    for kind in ("pictures", "answers", "configuration", "tree_imports", "manifest_imports")
    if find_spec(f"tests.fuzz.{kind}")
)


def make(kind: str, seed: int, place: Path) -> Path:
    """Write a case below `place`; returns its folder."""
    folder = place / f"{kind}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng([KINDS.index(kind), seed])
    import_module(f"tests.fuzz.{kind}").make(rng, folder)
    return folder


def check(folder: Path) -> str | None:
    """Check a case by the kind in its name; what is wrong with it."""
    try:
        import_module(f"tests.fuzz.{folder.name.partition('-')[0]}").check(folder)
    except Exception:
        return traceback.format_exc()
    return None


def failures(kind: str, seeds: Iterable[int], place: Path) -> dict[str, str]:
    """Make and check cases; what is wrong by the folders of the failing ones, which are kept."""
    found = {}
    for seed in seeds:
        folder = make(kind, seed, place)
        wrong = check(folder)
        if wrong is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            (folder / "error.txt").write_text(wrong, "utf-8", "replace")
            found[str(folder)] = wrong
    return found
