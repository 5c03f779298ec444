"""The coverage ledger: every picture of the catalog is accounted for."""

from __future__ import annotations

from dataclasses import dataclass, field

from indexer.calibration import RECIPE
from indexer.embed import model_dir_of, open_encoder
from indexer.generations import Generation
from indexer.grey_lengths import grey_inputs
from indexer.metadata import author_names
from schemas.catalog import Catalog
from schemas.errors import NoIndexError
from schemas.layout import Layout
from schemas.settings import Settings


@dataclass(frozen=True)
class Coverage:
    """Pictures = embedded + pending + skipped + failed; the index's own numbers beside.

    `indexed` is how many pictures the published generation answers with; `stale` says that
    the catalog has moved on since it was built.
    """

    pictures: int
    embedded: int
    pending: int
    skipped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    titles: int = 0
    authors: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    model_id: str = ""
    generation_id: str | None = None
    generation_created: str | None = None
    generation_state: str = "none"
    indexed: int = 0
    stale: bool = False

    @property
    def adds_up(self) -> bool:
        parts = self.embedded + self.pending
        return self.pictures == parts + sum(self.skipped.values()) + sum(self.failed.values())


def coverage(layout: Layout, settings: Settings) -> Coverage:
    """Count the catalog by status.

    Errors:  InputError when a table or the model cannot be read
    """
    encoder = open_encoder(settings)
    catalog = Catalog(layout)
    vectors = catalog.read("vectors", ["picture_id", "model_id", "preprocessing"])
    known = {
        picture
        for picture, model, preprocessing in zip(
            *(vectors[name].to_pylist() for name in vectors.column_names), strict=True
        )
        if (model, preprocessing) == (encoder.model_id, encoder.preprocessing_digest)
    }
    embedded = pending = 0
    skipped: dict[str, int] = {}
    failed: dict[str, int] = {}
    sources: dict[str, int] = {}
    pictures = catalog.read("pictures", ["picture_id", "status", "reason", "source"])
    for row in pictures.to_pylist():
        sources[row["source"]] = sources.get(row["source"], 0) + 1
        if row["status"] == "stored":
            if row["picture_id"] in known:
                embedded += 1
            else:
                pending += 1
        else:
            bucket = skipped if row["status"] == "skipped" else failed
            reason = row["reason"] or "unknown"
            bucket[reason] = bucket.get(reason, 0) + 1
    titles = catalog.read("titles", ["title_id", "authors"]).to_pylist()
    names = {name for title in titles for name in author_names(title)}
    facts = _generation(layout, catalog, settings, encoder.model_id)
    return Coverage(
        pictures.num_rows, embedded, pending,
        dict(sorted(skipped.items())), dict(sorted(failed.items())),
        len(titles), len(names), dict(sorted(sources.items())), encoder.model_id, *facts,
    )  # fmt: skip


def _generation(
    layout: Layout, catalog: Catalog, settings: Settings, model_id: str
) -> tuple[str | None, str | None, str, int, bool]:
    try:
        with Generation.open(layout) as generation:
            inputs = generation.manifest["inputs"]
            stale = inputs["model_id"] != model_id or any(
                inputs[name] != catalog.version(name) for name in ("titles", "pictures", "vectors")
            )
            stale |= inputs.get("calibration") != RECIPE
            stale |= generation.calibration.era_years != settings.index.era_years
            grey = grey_inputs(model_dir_of(settings))
            stale |= any(inputs.get(name) != value for name, value in grey.items())
            created = generation.manifest["created"]
            return generation.id, created, "ok", generation.pictures_count, stale
    except NoIndexError as error:
        state = "none" if "no index yet" in error.message else error.message
        return None, None, state, 0, True
