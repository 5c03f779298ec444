"""Builds a generation: vectors and labels -> a proven folder under index/.

Everything is written into a staging folder, synced, checked as a reader would see it, and
then renamed into place; publishing is a separate step that moves the pointer.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.embedding.embed import model_dir_of, open_encoder
from indexer.labels.calibration import RECIPE, fit
from indexer.labels.head_files import Heads, write_heads
from indexer.labels.holdout import Labelled, fitted_heads
from indexer.labels.labelled import labelled
from indexer.labels.labels import Calibration
from indexer.labels.usual import usual_deviation
from indexer.style_map import map_places
from indexer.vector_index.generations import (
    Generation,
    check_files,
    current_generation_id,
    read_manifest,
)
from indexer.vector_index.grey_lengths import CatalogInGrey, grey_inputs, write_grey_lengths
from indexer.vector_index.metadata import author_names, write_meta
from indexer.vector_index.rows import IndexRows, collect_rows
from indexer.vector_index.sealing import copy_model, opened, seal, write_faiss
from indexer.vector_index.validation import Check, Predecessor, check_encoder, check_index, compare
from schemas.errors import NoIndexError, NothingToIndex, PartlyDoneError
from schemas.progress import Progress
from schemas.records import DECADE
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.fsio import fsync_directory, fsync_file, storage_error, write_file
from schemas.storage.layout import Layout

STAGES = 6


@dataclass
class BuildReport:
    """What a build did; `generation_id` is the existing one when nothing has changed. `drift`
    is the share of pictures that changed since the votes were fitted, 0 when they were now."""

    generation_id: str | None
    unchanged: bool
    counts: dict[str, int] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    calibration: Calibration | None = None
    drift: float = 0.0
    seconds: float = 0.0


def build_generation(
    layout: Layout,
    settings: Settings,
    *,
    dry_run: bool = False,
    force: bool = False,
    accept: Sequence[str] = (),
    progress: Progress | None = None,
) -> BuildReport:
    """Build and prove a generation from the catalog; does not publish it.

    Returns the published generation unchanged when nothing that goes into it has changed.
    `accept` names proofs against the generation in use that may fail (yield, canaries,
    labels; `all` of them), because the change is meant.

    Errors:  NothingToIndex; InputError when the disk is full;
             PartlyDoneError when a proof fails (nothing is left behind)
    """
    started = time.perf_counter()
    step = _Steps(progress)
    encoder = open_encoder(settings)
    catalog = Catalog(layout)
    inputs = {
        **{name: catalog.version(name) for name in ("titles", "pictures", "vectors")},
        "model_id": encoder.model_id,
        "preprocessing": encoder.preprocessing_digest,
        "sample": settings.index.sample,
        "seed": settings.index.seed,
        "calibration": RECIPE,
        "era_years": settings.index.era_years,
        **grey_inputs(model_dir_of(settings)),
    }
    parent = current_generation_id(layout)
    if not force and (same := _same_inputs(layout, parent, inputs)):
        return BuildReport(parent, True, same, seconds=time.perf_counter() - started)

    rows = collect_rows(catalog, encoder.model_id, encoder.preprocessing_digest)
    counts = {
        "pictures": len(rows.pictures),
        "titles": len({row["title_id"] for row in rows.pictures}),
        "authors": len({n for t in _used_titles(rows) for n in author_names(t)}),
    }
    if not rows.pictures:
        raise NothingToIndex(
            "there is nothing to index: no picture in the catalog has a vector",
            "Run `toonsearch import folder DIR` first.",
        )
    if dry_run:
        return BuildReport(None, False, counts, seconds=time.perf_counter() - started)
    step.done()

    layout.staging.mkdir(parents=True, exist_ok=True)
    aside = layout.staging / f"generation-{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        before = Predecessor.open(layout, parent)
        try:
            report = _write(
                aside, layout, settings, rows, counts, inputs, parent, before, accept, step
            )
        finally:
            if before is not None:
                before.generation.close()
    except (OSError, sqlite3.Error) as error:
        raise storage_error(error, "the new index generation") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    report.seconds = time.perf_counter() - started
    return report


def _write(
    aside: Path,
    layout: Layout,
    settings: Settings,
    rows: IndexRows,
    counts: dict[str, int],
    inputs: dict[str, Any],
    parent: str | None,
    before: Predecessor | None,
    accept: Sequence[str],
    step: _Steps,
) -> BuildReport:
    data = labelled(rows, settings.index.era_years)
    changed, share = before.changed(rows) if before else (np.arange(len(rows.row_ids)), 1.0)
    calibration, drift = _kept_calibration(data, settings, inputs, before, share)
    previous_map = before.generation.meta if before and calibration else None
    if calibration is None:
        calibration = replace(
            fit(data, sample=settings.index.sample, seed=settings.index.seed),
            usual_deviation=usual_deviation(layout, settings, rows),
        )
    write_file(aside / "calibration.json", calibration.to_json().encode())
    write_heads(aside, Heads(fitted_heads(data)))
    step.done()
    write_faiss(aside / "vectors.faiss", rows)
    step.done()
    picture_ids = [row["picture_id"] for row in rows.pictures]
    places = map_places(rows.vectors, picture_ids, previous_map, settings.index.seed)
    write_meta(aside / "meta.sqlite", rows, settings.index.era_years, places)
    fsync_file(aside / "meta.sqlite")
    copy_model(model_dir_of(settings), aside / "model")
    in_grey = write_grey_lengths(aside, rows)
    step.done()

    checks = _prove(aside, rows, settings, changed if before else None, in_grey)
    checks.append(check_encoder(layout, aside / "model", rows, settings.decode.limits, changed))
    meant: set[str] = set()
    if before is not None:
        index = opened(aside)
        against = compare(
            before, index, rows, calibration, settings.index,
            same_model=_same_model(before, inputs), fitted=drift == 0.0, changed=share,
        )  # fmt: skip
        meant = {check.name for check in against if check.name in accept or "all" in accept}
        checks += against
    body = {
        "checks": [{**asdict(c), "accepted": c.name in meant and not c.passed} for c in checks],
        "measured": calibration.measured,
        "drift": drift,
        "against": parent if before else None,
    }
    write_file(aside / "checks.json", json.dumps(body, indent=1).encode())
    failed = [check for check in checks if not check.passed and check.name not in meant]
    if failed:
        hint = "The index in use was left as it is."
        if before is not None and failed[0] in against:
            hint += f" If that is right: `toonsearch index build --accept {failed[0].name}`."
        raise PartlyDoneError(
            f"the new index failed its check {failed[0].name!r} ({failed[0].detail})", hint
        )
    step.done()
    name = seal(aside, layout, counts, inputs, parent, rows.vectors.shape[1])
    final = layout.generation(name)
    if not layout.index.is_dir():
        layout.index.mkdir(parents=True)
        fsync_directory(layout.root)
    aside.rename(final)
    fsync_directory(layout.index)
    check_files(final, read_manifest(final))
    step.done()
    return BuildReport(name, False, counts, checks, calibration, drift)


def _kept_calibration(
    data: Labelled,
    settings: Settings,
    inputs: dict[str, Any],
    before: Predecessor | None,
    changed: float,
) -> tuple[Calibration | None, float]:
    """The votes of the generation in use while little has changed since they were fitted, and
    they were fitted as they are now, else none; and how much has changed since."""
    if before is not None and _same_model(before, inputs):
        theirs = before.generation.manifest["inputs"]
        drift = before.drift + changed
        same = all(theirs.get(key) == inputs[key] for key in ("sample", "seed", "calibration"))
        same &= before.calibration.era_years == data.era_years
        if same and drift <= settings.index.refit and before.calibration.basis != "defaults":
            return before.calibration, drift
    return None, 0.0


def _same_model(before: Predecessor, inputs: dict[str, Any]) -> bool:
    found = (before.generation.model_id, before.generation.preprocessing_digest)
    return found == (inputs["model_id"], inputs["preprocessing"])


def _used_titles(rows: IndexRows) -> list[dict[str, Any]]:
    return [rows.titles[title_id] for title_id in {row["title_id"] for row in rows.pictures}]


def _prove(
    aside: Path,
    rows: IndexRows,
    settings: Settings,
    first: np.ndarray | None,
    in_grey: CatalogInGrey | None,
) -> list[Check]:
    sample, seed = settings.index.sample, settings.index.seed
    return check_index(opened(aside), rows, sample=sample, seed=seed, first=first, in_grey=in_grey)


def _same_inputs(
    layout: Layout, current: str | None, inputs: dict[str, Any]
) -> dict[str, int] | None:
    """The counts of the published generation when it was built from the same inputs."""
    if current is None:
        return None
    try:
        with Generation.open(layout, current) as generation:
            # Older programs knew decades only, and did not say so.
            same = {"era_years": DECADE, **generation.manifest.get("inputs", {})} == inputs
            _ = generation.calibration  # of an older program: not the same after all
            return dict(generation.manifest["counts"]) if same else None
    except NoIndexError:
        return None  # damaged: build it anew


class _Steps:
    """Reports the stages of a build as progress."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress, self.count = progress, 0

    def done(self) -> None:
        self.count += 1
        if self.progress:
            self.progress(self.count, STAGES)
