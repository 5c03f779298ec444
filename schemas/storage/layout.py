"""Every path under the data root, in one place."""

from __future__ import annotations

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
    def staging(self) -> Path:
        """Half-made things, on the same file system as where they go; safe to delete."""
        return self.root / "staging"

    def frontier(self, site: str) -> Path:
        """What a crawl still has to fetch; deleting it costs requests, never data."""
        return self.root / "crawl" / f"{site}.sqlite"

    @property
    def own(self) -> tuple[Path, ...]:
        """Everything that lies under the data root; no output of a command may go there."""
        files = (self.lock, self.web, self.blocked)
        folders = (self.tables, self.pictures, self.index, self.models, self.cache, self.staging)
        return (*files, *folders, self.frontier("").parent)

    def table(self, name: str) -> Path:
        return self.tables / name

    def generation(self, generation_id: str) -> Path:
        return self.index / generation_id

    def picture(self, file: str) -> Path:
        """The stored file of a `pictures.file` value such as `ab/cd/<sha256>.png`."""
        return self.pictures / file

    @staticmethod
    def picture_file(picture_id: str, extension: str) -> str:
        """The content address of a picture, relative to the picture store."""
        return f"{picture_id[:2]}/{picture_id[2:4]}/{picture_id}.{extension}"
