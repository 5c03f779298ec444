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
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import blake3

from indexer.calibration import fit
from indexer.checks import Check, check_index
from indexer.embed import model_dir_of, open_encoder
from indexer.generations import Generation, current_generation_id, next_stamp
from indexer.head_files import Heads, write_heads
from indexer.holdout import fitted_heads
from indexer.labelled import labelled
from indexer.labels import Calibration
from indexer.manifests import (
    FORMAT,
    MANIFEST,
    check_files,
    digest_file,
    manifest_bytes,
    read_manifest,
)
from indexer.metadata import author_names, write_meta
from indexer.rows import IndexRows, collect_rows
from schemas.catalog import Catalog
from schemas.durable import fsync_directory, storage_error, write_file
from schemas.errors import InputError, NoIndexError, PartlyDoneError
from schemas.layout import Layout
from schemas.settings import Settings

Progress = Callable[[int, int], None]
STAGES = 6


@dataclass
class BuildReport:
    """What a build did; `generation_id` is the existing one when nothing has changed."""

    generation_id: str | None
    unchanged: bool
    counts: dict[str, int] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    calibration: Calibration | None = None
    seconds: float = 0.0


def build_generation(
    layout: Layout,
    settings: Settings,
    *,
    dry_run: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> BuildReport:
    """Build and prove a generation from the catalog; does not publish it.

    Returns the published generation unchanged when nothing that goes into it has changed.

    Errors:  InputError when nothing can be indexed or the disk is full;
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
        raise InputError(
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
        report = _write(aside, layout, settings, rows, counts, inputs, parent, step)
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
    step: _Steps,
) -> BuildReport:
    data = labelled(rows)
    calibration = fit(data, sample=settings.index.sample, seed=settings.index.seed)
    write_file(aside / "calibration.json", calibration.to_json().encode())
    write_heads(aside, Heads(fitted_heads(data)))
    step.done()
    _write_faiss(aside / "vectors.faiss", rows)
    step.done()
    write_meta(aside / "meta.sqlite", rows)
    _fsync(aside / "meta.sqlite")
    _copy_model(model_dir_of(settings), aside / "model")
    step.done()

    checks = _prove(aside, rows, settings)
    write_file(
        aside / "checks.json",
        json.dumps(
            {"checks": [asdict(c) for c in checks], "measured": calibration.measured}, indent=1
        ).encode(),
    )
    failed = [check for check in checks if not check.passed]
    if failed:
        raise PartlyDoneError(
            f"the new index failed its check {failed[0].name!r} ({failed[0].detail})",
            "The index in use was left as it is.",
        )
    step.done()
    name = _seal(aside, layout, counts, inputs, parent, rows.vectors.shape[1])
    final = layout.generation(name)
    layout.index.mkdir(parents=True, exist_ok=True)
    aside.rename(final)
    fsync_directory(layout.index)
    check_files(final, read_manifest(final))
    step.done()
    return BuildReport(name, False, counts, checks, calibration)


def _used_titles(rows: IndexRows) -> list[dict[str, Any]]:
    return [rows.titles[title_id] for title_id in {row["title_id"] for row in rows.pictures}]


def _write_faiss(path: Path, rows: IndexRows) -> None:
    """Exact search over half floats: 100,000 x 256 scan in milliseconds, half the memory of
    float32, and no training whose result could drift between builds."""
    import faiss

    flat = faiss.IndexScalarQuantizer(
        rows.vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index = faiss.IndexIDMap(flat)
    index.add_with_ids(rows.vectors, rows.row_ids)
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:  # FAISS reports a full disk this way
        raise OSError(28 if "write error" in str(error) else 5, str(error)) from error
    _fsync(path)


def _copy_model(source: Path, target: Path) -> None:
    """The generation carries its own encoder, so that an upgrade cannot mix spaces."""
    target.mkdir()
    for file in sorted(source.iterdir()):
        if file.is_file():
            write_file(target / file.name, file.read_bytes())
    fsync_directory(target)


def _prove(aside: Path, rows: IndexRows, settings: Settings) -> list[Check]:
    import faiss

    index = faiss.read_index(str(aside / "vectors.faiss"), faiss.IO_FLAG_MMAP_IFC)
    return check_index(index, rows, sample=settings.index.sample, seed=settings.index.seed)


def _seal(
    aside: Path,
    layout: Layout,
    counts: dict[str, int],
    inputs: dict[str, Any],
    parent: str | None,
    dimension: int,
) -> str:
    files = {
        str(path.relative_to(aside)): {"bytes": path.stat().st_size, "blake3": digest_file(path)}
        for path in sorted(aside.rglob("*"))
        if path.is_file()
    }
    created = datetime.now(UTC)
    mark = blake3.blake3(json.dumps([files, parent], sort_keys=True).encode()).hexdigest()[:8]
    name = f"g{next_stamp(layout, created)}-{mark}"
    body = {
        "format": FORMAT,
        "id": name,
        "created": created.isoformat(timespec="seconds"),
        "parent": parent,
        "model_id": inputs["model_id"],
        "preprocessing": inputs["preprocessing"],
        "dimension": dimension,
        "metric": "inner_product",
        "counts": counts,
        "inputs": inputs,
        "files": files,
    }
    write_file(aside / MANIFEST, manifest_bytes(body))
    fsync_directory(aside)
    return name


def _same_inputs(
    layout: Layout, current: str | None, inputs: dict[str, Any]
) -> dict[str, int] | None:
    """The counts of the published generation when it was built from the same inputs."""
    if current is None:
        return None
    try:
        with Generation.open(layout, current) as generation:
            same = generation.manifest.get("inputs") == inputs
            _ = generation.calibration  # of an older program: not the same after all
            return dict(generation.manifest["counts"]) if same else None
    except NoIndexError:
        return None  # damaged: build it anew


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Steps:
    """Reports the stages of a build as progress."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress, self.count = progress, 0

    def done(self) -> None:
        self.count += 1
        if self.progress:
            self.progress(self.count, STAGES)
