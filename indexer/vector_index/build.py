"""Builds a generation: vectors and labels -> a validated folder under index/.

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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from indexer.embedding.embed import model_dir_of, open_clip_model, open_encoder
from indexer.labels.calibration import RECIPE, Calibration
from indexer.labels.predict import LabelModel
from indexer.labels.softmax import Softmax
from indexer.panels.catalog import INDEXED_TABLES
from indexer.style_map import map_places
from indexer.vector_index.faiss_index import (
    FLAT,
    SearchPlan,
    VectorIndex,
    gpus_for,
    write_index,
)
from indexer.vector_index.generations import (
    CHECKS,
    FORMAT,
    MANIFEST,
    META,
    VECTORS,
    Generation,
    check_files,
    current_generation_id,
    file_facts,
    next_stamp,
    read_manifest,
)
from indexer.vector_index.metadata import (
    IndexRows,
    collect_rows,
    label_dataset,
    write_meta,
)
from indexer.vector_index.recall import choose_candidates
from indexer.vector_index.subjects import write_subjects
from indexer.vector_index.validation import (
    Check,
    Predecessor,
    check_encoder,
    check_index,
    check_labels,
    check_recall,
)
from schemas.errors import NoIndexError, NothingToIndex, PartlyDoneError
from schemas.progress import Progress
from schemas.records import author_names
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.fsio import (
    digest_bytes,
    fsync_directory,
    fsync_file,
    signed_bytes,
    storage_error,
    write_file,
)
from schemas.storage.layout import Layout

STAGES = 7


SEARCHED_BY = ("kind", "min_recall", "memory", "latency_ms")
"""Settings that decide how an index is searched."""


@dataclass
class BuildReport:
    """What a build did; `generation_id` is the existing one when nothing has changed. `drift`
    is the share of pictures that changed since the labels were calibrated, 0 when they were now;
    `plan` how the index is searched, and `notes` say why it is not as was asked for."""

    generation_id: str | None
    unchanged: bool
    counts: dict[str, int] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    calibration: Calibration | None = None
    drift: float = 0.0
    plan: SearchPlan = FLAT
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def inputs_of(catalog: Catalog, settings: Settings) -> dict[str, Any]:
    """What an index of this catalog is made from: one of the same inputs is up to date.

    Errors:  InputError when there is no such model
    """
    encoder, clip = open_encoder(settings), open_clip_model(settings)
    index = settings.index.local
    return {
        **{name: catalog.version(name) for name in INDEXED_TABLES},
        "model_id": encoder.model_id,
        "preprocessing": encoder.preprocessing_digest,
        "subjects_by": encoder.model_id if clip is None else clip.model_id,
        "sample": index.sample,
        "seed": index.seed,
        "calibration": RECIPE,
        "era_years": index.era_years,
        **{name: getattr(index, name) for name in SEARCHED_BY},
    }


def build_generation(
    layout: Layout,
    settings: Settings,
    *,
    dry_run: bool = False,
    force: bool = False,
    accept: Sequence[str] = (),
    progress: Progress | None = None,
) -> BuildReport:
    """Build and validate a generation from the catalog; does not publish it.

    Returns the published generation unchanged when nothing that goes into it has changed.
    `accept` names checks against the generation in use that may fail (yield, canaries,
    labels; `all` of them), because the change is meant.

    Errors:  NothingToIndex; InputError when the disk is full;
             PartlyDoneError when a check fails (nothing is left behind)
    """
    started = time.perf_counter()
    settings = replace(settings, index=settings.index.local)
    catalog, encoder = Catalog(layout), open_encoder(settings)
    inputs = inputs_of(catalog, settings)
    gpus_for(settings.index.device)  # that one is missing is said before the work
    parent = current_generation_id(layout)
    if not force and (same := _same_inputs(layout, parent, inputs)):
        return BuildReport(parent, True, same, seconds=time.perf_counter() - started)

    rows = collect_rows(catalog, encoder.model_id, encoder.preprocessing_digest)
    used, _ = rows.title_codes()
    counts = {
        "pictures": len(rows.pictures),
        "titles": len(used),
        "authors": len({name for title in used for name in author_names(rows.titles[title])}),
    }
    if not len(rows.pictures):
        raise NothingToIndex(
            "there is nothing to index: no picture in the catalog has a vector",
            "Run `toonsearch import folder DIR` first.",
        )
    if dry_run:
        return BuildReport(None, False, counts, seconds=time.perf_counter() - started)

    layout.staging.mkdir(parents=True, exist_ok=True)
    aside = layout.staging / f"generation-{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    before = Predecessor.open(layout, parent)
    try:
        aside.mkdir()
        build = _Build(layout, settings, rows, counts, inputs, parent, before, progress)
        del rows  # the build lets go of what it has written
        report = build.run(aside, accept)
    except (OSError, sqlite3.Error) as error:
        raise storage_error(error, "the new index generation") from error
    finally:
        if before is not None:
            before.generation.close()
        shutil.rmtree(aside, ignore_errors=True)
    report.seconds = time.perf_counter() - started
    return report


@dataclass
class _Build:
    """One build, from its rows to the finished folder."""

    layout: Layout
    settings: Settings
    rows: IndexRows
    counts: dict[str, int]
    inputs: dict[str, Any]
    parent: str | None
    before: Predecessor | None
    progress: Progress | None
    done: int = 0

    def run(self, aside: Path, accept: Sequence[str]) -> BuildReport:
        self._step()
        before, index = self.before, self.settings.index
        write_index(aside / VECTORS, self.rows.vectors, self.rows.row_ids)
        exact = VectorIndex.open(aside / VECTORS)
        rows = self.rows = replace(self.rows, vectors=exact.halves)
        self._step()
        data = label_dataset(rows, index.era_years)
        softmax = Softmax.read(model_dir_of(self.settings))
        if softmax is not None:
            learnt = softmax.has_learnt([p["picture_id"] for p in rows.pictures.only("picture_id")])
            heard = softmax.held_out(data.vectors, data.names, data.codes, learnt, data.title)
            data = replace(data, network=heard)
        changed, share = before.changed(rows) if before else (np.arange(len(rows.row_ids)), 1.0)
        carried, drift = self._carried_over(share)
        labels = LabelModel.fit(data, sample=index.sample, seed=index.seed, calibration=carried)
        labels.write(aside)
        self._step()
        in_use = before.generation.index if before and self._same_model else None
        chosen = choose_candidates(aside / VECTORS, index, in_use)
        model = (self.inputs["subjects_by"], self.inputs["preprocessing"])
        author = data.codes["author"]
        write_subjects(aside, Catalog(self.layout), rows, author, model, index.seed)
        self._step()
        previous = before.generation.meta if before and carried else None
        places = map_places(rows.vectors, rows.row_ids, previous, index.seed)
        write_meta(aside / META, rows, data, places)
        fsync_file(aside / META)
        _copy_model(model_dir_of(self.settings), aside / "model")
        self._step()

        written, limits = (
            VectorIndex.open(aside / VECTORS, chosen.plan),
            self.settings.decode.limits,
        )
        written.use(index.device)
        if written.trouble and written.trouble not in chosen.notes:
            chosen.notes.append(written.trouble)
        first = changed if before else None
        checks = check_index(written, rows, sample=index.sample, seed=index.seed, first=first)
        checks.append(check_recall(chosen.plan, index.min_recall))
        checks.append(check_encoder(self.layout, aside / "model", rows, limits, changed))
        against: list[Check] = []
        if before is not None:
            against = before.compare(written, rows, index, same_model=self._same_model)
            against.append(
                check_labels(before.calibration, labels.calibration, index.max_quality_drop,
                             comparable=drift == 0.0, changed=share)
            )  # fmt: skip
        meant = {check.name for check in against if check.name in accept or "all" in accept}
        checks += against
        body = {
            "checks": [{**asdict(c), "accepted": c.name in meant and not c.passed} for c in checks],
            "measured": labels.calibration.measured,
            "drift": drift,
            "against": self.parent if before else None,
        }
        write_file(aside / CHECKS, json.dumps(body, indent=1).encode())
        failed = [check for check in checks if not check.passed and check.name not in meant]
        if failed:
            hint = "The index in use was left as it is."
            if failed[0].name == "min_recall":
                hint += " `--kind auto` chooses one that finds enough."
            if failed[0] in against:
                hint += f" If that is right: `toonsearch index build --accept {failed[0].name}`."
            raise PartlyDoneError(
                f"the new index failed its check {failed[0].name!r} ({failed[0].detail})", hint
            )
        self._step()
        name = self._finish(aside, chosen.plan)
        self._step()
        return BuildReport(
            name, False, self.counts, checks, labels.calibration, drift, chosen.plan, chosen.notes
        )

    def _step(self) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, STAGES)

    @property
    def _same_model(self) -> bool:
        if self.before is None:
            return False
        found = (self.before.generation.model_id, self.before.generation.preprocessing_digest)
        return found == (self.inputs["model_id"], self.inputs["preprocessing"])

    def _carried_over(self, changed: float) -> tuple[Calibration | None, float]:
        """The calibration of the generation in use while little has changed since it was fitted,
        and it was fitted as it is now, else none; and how much has changed since."""
        before = self.before
        if before is None or not self._same_model or before.calibration.basis == "defaults":
            return None, 0.0
        theirs, drift = before.generation.manifest["inputs"], before.drift + changed
        keys = ("sample", "seed", "calibration", "era_years")
        if drift > self.settings.index.refit or any(theirs[k] != self.inputs[k] for k in keys):
            return None, 0.0
        return before.calibration, drift

    def _finish(self, aside: Path, plan: SearchPlan) -> str:
        """Write the manifest, and rename the folder into place; its id."""
        files = {
            str(path.relative_to(aside)): file_facts(path)
            for path in sorted(aside.rglob("*"))
            if path.is_file()
        }
        created = datetime.now(UTC)
        mark = json.dumps([files, self.parent], sort_keys=True).encode()
        stamp = next_stamp(self.layout, created)
        name = f"g{stamp}-{digest_bytes(mark)[:8]}"
        body = {
            "format": FORMAT,
            "id": name,
            "created": created.isoformat(timespec="seconds"),
            "parent": self.parent,
            "model_id": self.inputs["model_id"],
            "preprocessing": self.inputs["preprocessing"],
            "dimension": self.rows.vectors.shape[1],
            "metric": "inner_product",
            "search": asdict(plan),
            "counts": self.counts,
            "inputs": self.inputs,
            "files": files,
        }
        write_file(aside / MANIFEST, signed_bytes(body))
        fsync_directory(aside)
        if not self.layout.index.is_dir():
            self.layout.index.mkdir(parents=True)
            fsync_directory(self.layout.root)
        final = self.layout.generation(name)
        aside.rename(final)
        fsync_directory(self.layout.index)
        check_files(final, read_manifest(final))
        return name


def _copy_model(source: Path, target: Path) -> None:
    """The generation carries its own encoder, so that an upgrade cannot mix spaces."""
    target.mkdir()
    for file in sorted(source.iterdir()):
        if file.is_file():
            write_file(target / file.name, file.read_bytes())
    fsync_directory(target)


def _same_inputs(
    layout: Layout, current: str | None, inputs: dict[str, Any]
) -> dict[str, int] | None:
    """The counts of the published generation when it was built from the same inputs."""
    if current is None:
        return None
    try:
        with Generation.open(layout, current) as generation:
            same = generation.manifest["inputs"] == inputs
            return dict(generation.manifest["counts"]) if same else None
    except NoIndexError:
        return None  # damaged: build another
