"""Coverage: every picture of the catalog is accounted for. Metrics: the same for Prometheus."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.embedding.embed import open_encoder
from indexer.vector_index.build import inputs_of
from indexer.vector_index.generations import Generation
from schemas.errors import MissingIndexError, NoIndexError
from schemas.records import author_names
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.fsio import replace_file, storage_errors
from schemas.storage.layout import Layout
from schemas.storage.outputs import check_target

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


@dataclass(frozen=True)
class Coverage:
    """Pictures = embedded + pending + skipped + failed + cut; panels and the index beside.

    `cut` are strips' slices and pages that are searched by their panels, which `panels` counts
    by state.

    `indexed` is how many pictures the published generation answers with, `search_kind` how and
    `search_recall` how much of the exact ten nearest that finds; `stale` says that
    the catalog or the settings have moved on since it was built.
    """

    pictures: int
    embedded: int
    pending: int
    skipped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    cut: int = 0
    panels: dict[str, int] = field(default_factory=dict)
    titles: int = 0
    authors: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    model_id: str = ""
    generation_id: str | None = None
    generation_created: str | None = None
    generation_state: str = "none"
    indexed: int = 0
    search_kind: str = ""
    search_recall: float = 0.0
    stale: bool = False

    @property
    def adds_up(self) -> bool:
        parts = self.embedded + self.pending + self.cut
        return self.pictures == parts + sum(self.skipped.values()) + sum(self.failed.values())


def coverage(layout: Layout, settings: Settings) -> Coverage:
    """Count the catalog by status.

    Errors:  InputError when a table or the model cannot be read
    """
    encoder = open_encoder(settings)
    catalog = Catalog(layout)
    with catalog.connect() as connection:
        connection.execute(
            "create table v as select distinct picture_id, true as has_vector from vectors"
            " where model_id = ? and preprocessing = ?",
            [encoder.model_id, encoder.preprocessing_digest],
        )
        rows = connection.execute(
            "select source, status, coalesce(reason, 'unknown'), has_vector, is_cut, count(*)"
            " from pictures left join v using (picture_id) left join (select distinct title_id,"
            " unnest(parents) as picture_id, true as is_cut from strips where status = 'cut')"
            " using (title_id, picture_id) group by all order by all"
        ).fetchall()
        panels = connection.execute(
            "select case when status <> 'stored' then status when has_vector then 'embedded'"
            " else 'pending' end as state, count(*) from panels left join v using (picture_id)"
            " group by all order by all"
        ).fetchall()
    states: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {"skipped": Counter(), "failed": Counter()}
    sources: Counter[str] = Counter()
    for source, status, reason, is_embedded, is_cut, count in rows:
        sources[source] += count
        if status == "stored" and is_cut:
            states["cut"] += count
        elif status == "stored":
            states["embedded" if is_embedded else "pending"] += count
        else:
            reasons["skipped" if status == "skipped" else "failed"][reason] += count
    titles = catalog.read("titles", ["title_id", "authors"]).to_pylist()
    names = {name for title in titles for name in author_names(title)}
    return Coverage(
        pictures=sources.total(),
        embedded=states["embedded"],
        pending=states["pending"],
        skipped=dict(sorted(reasons["skipped"].items())),
        failed=dict(sorted(reasons["failed"].items())),
        cut=states["cut"],
        panels=dict(panels),
        titles=len(titles),
        authors=len(names),
        sources=dict(sources),
        model_id=encoder.model_id,
        **_generation(catalog, settings),
    )


def _generation(catalog: Catalog, settings: Settings) -> dict[str, Any]:
    try:
        with Generation.open(catalog.layout) as generation:
            return {
                "generation_id": generation.id,
                "generation_created": generation.manifest["created"],
                "generation_state": "ok",
                "indexed": generation.pictures_count,
                "search_kind": generation.plan.kind,
                "search_recall": generation.plan.recall,
                "stale": generation.manifest["inputs"] != inputs_of(catalog, settings),
            }
    except MissingIndexError:
        return {"generation_state": "none", "stale": True}
    except NoIndexError as error:
        return {"generation_state": error.message, "stale": True}


# --- A night as Prometheus metrics, for the node exporter's textfile collector.

LAST_SUCCESS = "toonsearch_nightly_success_timestamp_seconds"


def write_metrics(path: Path, body: dict[str, Any], covered: Coverage | None) -> None:
    """Write metrics of a night's summary and of the catalog.

    Units:   seconds since 1970 for times
    Errors:  InputError when the file cannot be written; UsageError when it is another file
    """
    from prometheus_client import generate_latest

    check_target(path, "metrics")
    now = datetime.now(UTC).timestamp()
    success = last_success(path) if body["exit_code"] else now
    with storage_errors(str(path)):
        replace_file(path, generate_latest(_registry(body, covered, now, success)))


def _registry(
    body: dict[str, Any], covered: Coverage | None, now: float, success: float
) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry, Gauge

    registry = CollectorRegistry()

    def gauge(name: str, about: str, *labels: str) -> Gauge:
        return Gauge(name, about, labels, registry=registry)

    gauge("toonsearch_nightly_end_timestamp_seconds", "When the last night ended.").set(now)
    gauge(LAST_SUCCESS, "When the last night without a failure ended.").set(success)
    gauge("toonsearch_nightly_exit_code", "Exit code of the last night.").set(body["exit_code"])
    gauge("toonsearch_nightly_seconds", "How long the last night took.").set(body["seconds"])
    seconds = gauge("toonsearch_nightly_stage_seconds", "How long each stage took.", "stage")
    failed = gauge("toonsearch_nightly_stage_failed", "1 when the stage failed.", "stage")
    counts = gauge("toonsearch_nightly_stage_count", "What each stage counted.", "stage", "what")
    for stage in body["stages"]:
        seconds.labels(stage["name"]).set(stage["seconds"])
        failed.labels(stage["name"]).set(stage["outcome"] == "failed")
        for what, count in stage["counts"].items():
            counts.labels(stage["name"], what).set(count)
    if covered is not None:
        pictures = gauge("toonsearch_catalog_pictures", "Pictures by state.", "state")
        states = {"embedded": covered.embedded, "pending": covered.pending}
        states["cut"] = covered.cut
        states |= {"skipped": sum(covered.skipped.values()), "failed": sum(covered.failed.values())}
        for state, count in states.items():
            pictures.labels(state).set(count)
        panels = gauge("toonsearch_catalog_panels", "Panels by state.", "state")
        for state, count in covered.panels.items():
            panels.labels(state).set(count)
        indexed = gauge("toonsearch_index_pictures", "Pictures that the index in use holds.")
        indexed.set(covered.indexed)
        if covered.generation_created:
            created = datetime.fromisoformat(covered.generation_created).timestamp()
            when = gauge("toonsearch_index_created_timestamp_seconds", "When it was built.")
            when.set(created)
    return registry


def last_success(path: Path) -> float:
    """The time of the last success that an earlier file holds, 0 when it holds none."""
    from prometheus_client.parser import text_string_to_metric_families

    with contextlib.suppress(OSError, ValueError, IndexError):
        for family in text_string_to_metric_families(path.read_text("utf-8")):
            if family.name == LAST_SUCCESS:
                return float(family.samples[0].value)
    return 0.0
