"""What a writer does first: finish or clear away what a dead one left behind.

Called with the data root's lock held, so whatever lies in `staging/` or was being put into
place belongs to nobody. Generations and stored pictures are complete once they have their
name, and are never touched here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from schemas.errors import InputError
from schemas.storage import commits
from schemas.storage.layout import Layout


def recover(layout: Layout, *, thorough: bool) -> None:
    """Clear debris away and finish or undo commits that were cut short.

    Without `thorough` only what is cheap to notice is looked for.

    Errors:  OSError
    """
    for debris in _entries(layout.staging):
        _remove(debris)
    for pointer in (layout.current, layout.blocked):
        for debris in _entries(pointer.parent):
            if debris.name.startswith(f".{pointer.name}.") and debris.suffix == ".tmp":
                _remove(debris)
    for table in _entries(layout.tables):
        with contextlib.suppress(InputError):  # damage, which whoever reads the table is told
            sealed = commits.sealed_version(table)
            torn = sealed is not None and sealed != max(commits.versions(table), default=-1)
            if thorough or torn or commits.has_debris(table):
                commits.mend(table)


def _entries(directory: Path) -> list[Path]:
    try:
        return [Path(entry) for entry in os.scandir(directory)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
