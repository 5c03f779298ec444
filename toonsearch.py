"""The public Python API: open an index and ask who draws like a picture.

    import toonsearch

    result = toonsearch.open("demo/data").query("cover.jpg", k=5)
    print(result.titles[0].name, result.labels.authors)

In a notebook a result shows its pictures; docs/python.md has more. Importing this module loads
nothing heavy; `open` does.
"""

from __future__ import annotations

import html
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.errors import ToonsearchError
    from schemas.images import PictureLimits
    from schemas.records import Answer, Hit, Labels, TitleHit
    from schemas.storage.layout import Layout
    from search.filters import Filters
    from search.inputs import QueryPicture
    from search.output.html import GallerySection

__all__ = ["Answer", "Filters", "Index", "Result", "ToonsearchError", "open"]
FRAME_PX = 640
_MODULES = {
    "Answer": "schemas.records",
    "Filters": "search.filters",
    "ToonsearchError": "schemas.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


class Result:
    """An answer that prints as the table of `toonsearch query` and shows itself in a notebook.

    titles    the titles that were found, best first (for `by="title"`)
    pictures  the pictures that were found, best first (for `by="picture"`)
    labels    who probably drew it, which genre, which era
    notes     what to know before trusting it
    answer    all of that and the numbers beside it
    """

    def __init__(
        self,
        answer: Answer,
        asked: Sequence[QueryPicture],
        by: str,
        layout: Layout,
        limits: PictureLimits,
    ) -> None:
        self.answer, self._asked, self._by = answer, tuple(asked), by
        self._layout, self._limits = layout, limits

    @property
    def titles(self) -> tuple[TitleHit, ...]:
        return self.answer.titles

    @property
    def pictures(self) -> tuple[Hit, ...]:
        return self.answer.pictures

    @property
    def labels(self) -> Labels:
        return self.answer.labels

    @property
    def notes(self) -> tuple[str, ...]:
        return self.answer.notes

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `toonsearch query --json` prints them."""
        from search.output.data import body

        return body(self.answer, self._by, self._layout)

    def rows(self) -> list[dict[str, Any]]:
        """What was found, a dictionary for each, such as pandas.DataFrame takes."""
        from search.output.data import hits

        return hits(self.answer, self._by, self._layout)

    def save(self, file: str | Path) -> None:
        """Write a gallery page.

        Errors:  ToonsearchError when it cannot be written
        """
        from search.output.html import write_gallery

        write_gallery(Path(file), [self._section], layout=self._layout, limits=self._limits)

    @property
    def _section(self) -> GallerySection:
        from search.output.html import GallerySection

        return GallerySection(self.answer, self._asked, by=self._by)

    def __repr__(self) -> str:
        import io

        from search.output.text import write_answer

        out = io.StringIO()
        write_answer(out, self.answer, self._by)
        return out.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        """The gallery page in a frame of its own: its style and the notebook's cannot mix, and
        nothing in it runs."""
        from search.output.html import gallery_images, render_gallery

        images = gallery_images([self._section], self._layout, self._limits)
        page = html.escape(render_gallery([self._section], images), quote=True)
        style = f"width:100%;height:{FRAME_PX}px;border:0;resize:vertical;overflow:auto"
        return f'<iframe sandbox="allow-popups" srcdoc="{page}" style="{style}"></iframe>'


class Index:
    """One open index generation; may be used by several threads."""

    def __init__(self, data_root: str | Path | None = None) -> None:
        from schemas.settings import load_settings
        from search.engine import Engine

        self._root = None if data_root is None else str(Path(data_root).expanduser())
        settings = load_settings({"store.root": self._root})
        self._layout = settings.layout
        self._engine = Engine.open(self._layout, settings)

    def query(
        self,
        *pictures: str | Path | bytes,
        k: int | None = None,
        by: Literal["title", "picture"] | None = None,
        filters: Filters | None = None,
        panels: str = "auto",
        weights: Sequence[float] = (),
        subject: float = 0.0,
        text: str | None = None,
    ) -> Result:
        """The titles (or pictures) drawn most like these files or encoded pictures together, and
        who may have drawn them; what is not given is as the settings say. `panels` is `auto` (strips
        and pages are cut, and each panel asks), `off`, or how many may ask; `weights` say how much
        each picture counts. `subject`, 0 to 1, is how much what is shown counts besides style.
        `text` are words that title, author, tags, genres or file name must have; without a picture
        they alone are asked about.

        Errors:  ToonsearchError when a picture or a filter cannot be used
        """
        from dataclasses import replace

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
        if text is not None and not read:
            from search.texts import query_by_text

            answer = query_by_text(
                self._engine.generation, text, k=settings.k, by=settings.by, filters=chosen
            )
            return Result(answer, read, settings.by, self._layout, limits)
        options = QueryOptions.of(settings, replace(chosen, text=text or chosen.text))
        options = replace(options, subject=subject)
        answer = self._engine.query(read, options, Cutting.parse(panels), weights)
        return Result(answer, read, settings.by, self._layout, limits)

    def close(self) -> None:
        """Let go of the index's files."""
        self._engine.close()

    def __del__(self) -> None:
        """A notebook forgets an index without closing it: its lock must not outlive it."""
        if hasattr(self, "_engine"):
            self.close()

    def __repr__(self) -> str:
        it = self._engine.generation
        return f"<toonsearch index {it.id}: {it.pictures_count:,} pictures, {it.titles_count:,} titles>"

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open(data_root: str | Path | None = None) -> Index:
    """Open the published index of a data root, by default that of the settings.

    `toonsearch --data DIR open FOLDER --no-serve` makes one of a folder of pictures.

    Errors:  ToonsearchError when there is none, or it is damaged
    """
    return Index(data_root)
