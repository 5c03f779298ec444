"""Arrays that are slow to compute, kept between runs: one `.npy` file for each.

A name says what an array is; what it depends on goes into the key. Nothing here can run code
when it is read, and a file that cannot be read is computed again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import InputError
from schemas.storage.fsio import storage_error


def default_cache() -> Path:
    """Where features are kept: `$XDG_CACHE_HOME/toonsearch/features`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "toonsearch" / "features"


class ArrayCache:
    """Named arrays in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, name: str, key: dict[str, Any], compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of this name and key, computed unless it is there.

        Errors:  InputError when it cannot be written
        """
        if self.folder is None:
            return compute()
        text = json.dumps(key, sort_keys=True, default=str)
        path = self.folder / f"{name}-{sha256(text.encode()).hexdigest()[:20]}.npy"
        try:
            return np.asarray(np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError):
            pass
        value = compute()
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                np.save(file, value, allow_pickle=False)
            aside.replace(path)
        except OSError as error:
            failure: InputError = storage_error(error, f"the feature cache {self.folder}")
            raise failure from error
        finally:
            aside.unlink(missing_ok=True)
        return value


def digest_of(parts: Any) -> str:
    """16 hex digits of anything that JSON can write."""
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
