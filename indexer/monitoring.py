"""The coverage ledger: every picture of the catalog is accounted for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from indexer.embedding.embed import open_encoder
from indexer.labels.calibration import RECIPE
from indexer.vector_index.generations import Generation
from indexer.vector_index.metadata import author_names
from schemas.errors import NoIndexError
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout


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
            created = generation.manifest["created"]
            return generation.id, created, "ok", generation.pictures_count, stale
    except NoIndexError as error:
        state = "none" if "no index yet" in error.message else error.message
        return None, None, state, 0, True


# --- A night in Prometheus' text format, for the node exporter's textfile collector.

Samples = list[tuple[dict[str, str], float]]


def prometheus(body: dict[str, Any], coverage: Coverage | None, last_success: float) -> str:
    """Metrics of a night's report and of the catalog.

    Units:   seconds since 1970 for times
    """
    stages = body["stages"]
    families: list[tuple[str, str, Samples]] = [
        (
            "nightly_end_timestamp_seconds",
            "When the last night ended.",
            [({}, datetime.now(UTC).timestamp())],
        ),
        (
            "nightly_success_timestamp_seconds",
            "When the last night without a failure ended.",
            [({}, last_success)],
        ),
        ("nightly_exit_code", "Exit code of the last night.", [({}, body["exit_code"])]),
        ("nightly_seconds", "How long the last night took.", [({}, body["seconds"])]),
        (
            "nightly_stage_seconds",
            "How long each stage took.",
            [({"stage": s["name"]}, s["seconds"]) for s in stages],
        ),
        (
            "nightly_stage_failed",
            "1 when the stage failed.",
            [({"stage": s["name"]}, s["outcome"] == "failed") for s in stages],
        ),
        (
            "nightly_stage_count",
            "What each stage counted.",
            [
                ({"stage": s["name"], "what": what}, count)
                for s in stages
                for what, count in s["counts"].items()
            ],
        ),
    ]
    if coverage is not None:
        families += _catalog(coverage)
    lines: list[str] = []
    for name, about, samples in families:
        lines += [f"# HELP toonsearch_{name} {about}", f"# TYPE toonsearch_{name} gauge"]
        lines += [f"toonsearch_{name}{_labels(labels)} {float(v)!r}" for labels, v in samples]
    return "\n".join(lines) + "\n"


def _catalog(coverage: Coverage) -> list[tuple[str, str, Samples]]:
    states = {
        "embedded": coverage.embedded,
        "pending": coverage.pending,
        "skipped": sum(coverage.skipped.values()),
        "failed": sum(coverage.failed.values()),
    }
    found: list[tuple[str, str, Samples]] = [
        (
            "catalog_pictures",
            "Pictures of the catalog by state.",
            [({"state": state}, count) for state, count in states.items()],
        ),
        (
            "index_pictures",
            "Pictures that the index in use answers with.",
            [({}, coverage.indexed)],
        ),
    ]
    if coverage.generation_created:
        created = datetime.fromisoformat(coverage.generation_created).timestamp()
        found.append(
            ("index_created_timestamp_seconds", "When the index was built.", [({}, created)])
        )
    return found


def _labels(labels: dict[str, str]) -> str:
    def quoted(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    told = ",".join(f'{name}="{quoted(value)}"' for name, value in labels.items())
    return f"{{{told}}}" if told else ""


def last_success_of(text: str) -> float:
    """The time of the last success that an earlier file tells, 0 when it tells none."""
    for line in text.splitlines():
        if line.startswith("toonsearch_nightly_success_timestamp_seconds "):
            try:
                return float(line.split()[1])
            except (ValueError, IndexError):
                return 0.0
    return 0.0
