"""The public Python API: open an index and ask who draws like a picture.

    import toonsearch

    with toonsearch.open("demo/data") as index:
        answer = index.query("cover.jpg", k=5, filters=toonsearch.Filters(year_from=2000))
    print(answer.titles[0].name, answer.labels.authors)

Importing this module loads nothing heavy; `open` does.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from schemas.errors import ToonsearchError
    from schemas.records import Answer
    from search.filters import Filters

__all__ = ["Answer", "Filters", "Index", "ToonsearchError", "open"]
_MODULES = {
    "Answer": "schemas.records",
    "Filters": "search.filters",
    "ToonsearchError": "schemas.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


class Index:
    """One open index generation; may be used by several threads."""

    def __init__(self, data_root: str | Path | None = None) -> None:
        from schemas.settings import load_settings
        from search.engine import Engine

        self._root = None if data_root is None else str(data_root)
        settings = load_settings({"store.root": self._root})
        self._engine = Engine.open(settings.layout, settings)

    def query(
        self,
        *pictures: str | Path | bytes,
        k: int | None = None,
        by: Literal["title", "picture"] | None = None,
        filters: Filters | None = None,
        panels: str = "auto",
    ) -> Answer:
        """The titles (or pictures) drawn most like these files or encoded pictures together, and
        who may have drawn them; what is not given is as the settings say. `panels` is `auto` (strips
        and pages are cut, and each panel asks), `off`, or how many may ask.

        Errors:  ToonsearchError when a picture or a filter cannot be used
        """
        from schemas.settings import load_settings
        from search.engine import QueryOptions
        from search.filters import Filters
        from search.inputs import QueryPicture, read_picture
        from search.panels import Cutting

        limits = self._engine.limits
        settings = load_settings({"store.root": self._root, "query.k": k, "query.by": by}).query
        read = [
            QueryPicture(f"picture {number}", one)
            if isinstance(one, bytes)
            else read_picture(str(one), limits)
            for number, one in enumerate(pictures, 1)
        ]
        chosen = filters or Filters(min_percentile=settings.min_percentile)
        return self._engine.query(read, QueryOptions.of(settings, chosen), Cutting.parse(panels))

    def close(self) -> None:
        """Let go of the index's files."""
        self._engine.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open(data_root: str | Path | None = None) -> Index:
    """Open the published index of a data root, by default that of the settings.

    Errors:  ToonsearchError when there is none, or it is damaged
    """
    return Index(data_root)
