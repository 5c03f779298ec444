"""Every path under the data root, in one place."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The data root and what lies where under it."""

    root: Path

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def pictures(self) -> Path:
        return self.root / "pictures"

    @property
    def index(self) -> Path:
        return self.root / "index"

    @property
    def current(self) -> Path:
        """The pointer: a one-line file that names the published generation."""
        return self.index / "CURRENT"

    @property
    def models(self) -> Path:
        """Trained models, one folder each, named by their ids."""
        return self.root / "models"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def web(self) -> Path:
        """What visitors of the page keep: shared links, accounts, galleries."""
        return self.root / "web.sqlite"

    @property
    def cache(self) -> Path:
        """What can be computed again at any time."""
        return self.root / "cache"

    @property
    def blocked(self) -> Path:
        """The marks of what was forgotten and must stay out."""
        return self.root / "forgotten.json"

    @property
    def remote(self) -> Path:
        """Which states of the catalog places on object storage have in common with it."""
        return self.root / "remote.json"

    @property
    def staging(self) -> Path:
        """Half-made things, on the same file system as where they go; safe to delete."""
        return self.root / "staging"

    def frontier(self, site: str) -> Path:
        """What a crawl still has to fetch; deleting it costs requests, never data."""
        return self.root / "crawl" / f"{site}.sqlite"

    @property
    def own(self) -> tuple[Path, ...]:
        """Everything that lies under the data root; no output of a command may go there."""
        files = (self.lock, self.web, self.blocked, self.remote)
        folders = (self.tables, self.pictures, self.index, self.models, self.cache, self.staging)
        return (*files, *folders, self.frontier("").parent)

    def table(self, name: str) -> Path:
        return self.tables / name

    def generation(self, generation_id: str) -> Path:
        return self.index / generation_id

    def picture(self, file: str) -> Path:
        """The stored file of a `pictures.file` value such as `ab/cd/<sha256>.png`."""
        return self.pictures / file

    def picture_to_name(self, file: str | None, source_path: str | None) -> Path | None:
        """The file that people are told of: the one that they imported while it is there, else
        the stored copy; None where nothing is stored."""
        if file is None:
            return None
        own = Path(source_path or "")
        with contextlib.suppress(OSError, ValueError):  # a name that the system refuses
            if own.is_absolute() and own.is_file():
                return own
        return self.picture(file)

    @staticmethod
    def picture_file(picture_id: str, extension: str) -> str:
        """The content address of a picture, relative to the picture store."""
        return f"{picture_id[:2]}/{picture_id[2:4]}/{picture_id}.{extension}"


# --- Recognising what this program wrote, wherever it lies, so that it is never imported.

BACKUP_RECORD = "backup.json"
"""What a backup is complete with; its folder is named by its time."""
BACKUP_NAME = re.compile(r"[0-9]{8}T[0-9]{12}")
_DATA_FOLDERS = frozenset({"tables", "pictures", "index", "models", "cache", "staging", "crawl"})
_DEMO_FILES = ("summary.json", "catalog.csv", "queries.csv", "unknown.csv")


def own_folders(folder: Path, names: Collection[str]) -> frozenset[str]:
    """Which folders in this one, of the names that it holds, are toonsearch's: those of a data
    root, of a folder of backups, and the demo's clip art."""
    own: frozenset[str] = frozenset()
    with contextlib.suppress(OSError):
        is_root = "tables" in names and any(folder.glob("tables/*/_delta_log"))
        if is_root or ("index" in names and Layout(folder).current.is_file()):
            own |= _DATA_FOLDERS
        times = [name for name in names if BACKUP_NAME.fullmatch(name)]
        if backups := {name for name in times if (folder / name / BACKUP_RECORD).is_file()}:
            own |= {"pictures", *backups}
        if all(name in names for name in _DEMO_FILES):
            own |= {"clipart"}
    return own


def is_content_address(path: Path) -> bool:
    """Whether a file lies where a store of pictures would put it, such as `ab/cd/abcd....png`."""
    name = path.stem
    if len(name) != 64:
        return False
    ends = (path.parent.parent.name, path.parent.name)
    return bool(re.fullmatch(r"[0-9a-f]{64}", name)) and ends == (name[:2], name[2:4])
