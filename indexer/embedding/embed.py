"""Embeds pictures: stored ones into the `vectors` table, listed ones into a Parquet file.

Reading, checking and decoding run ahead on threads (Pillow and hashing release the GIL)
while the network runs; vectors are committed in batches, so that a kill costs at most one
batch of work and a second run starts where the first one ended.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

from indexer.embedding.encoder import Device, Encoded, Encoder
from indexer.embedding.models import model_dir
from indexer.embedding.preprocess import PixelSpec, picture_to_pixels, prepare
from indexer.panels.catalog import reading_order, searched
from indexer.panels.picture import PictureReader
from schemas.attempt import WorkReport, attempt, concerns_all, in_order
from schemas.images import (
    SKIPPED,
    PictureError,
    Reason,
    read_capped,
)
from schemas.manifest import NO_PATH, RAGGED, read_manifest
from schemas.progress import Progress
from schemas.records import Row
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from schemas.storage.outputs import output_file

if TYPE_CHECKING:
    import pyarrow as pa

    from indexer.embedding.clip import ClipModel

Job = TypeVar("Job")

# --- Stored pictures.

COMMIT_ROWS = 2048  # about 2 MB of vectors and, on two cores, under a minute of work
COMMIT_SECONDS = 60.0


@dataclass
class EmbedReport(WorkReport):
    """Counts: embedded, completed (a subject vector was added), already, skipped, failed, pending,
    left."""

    device: str | None = None
    """cpu or cuda; None where nothing was encoded here."""


def model_dir_of(settings: Settings) -> Path:
    """The encoder's folder, as the settings name it.

    Errors:  InputError when there is no such model
    """
    return model_dir(settings.encoder.model, settings.layout)


def open_encoder(settings: Settings, *, bulk: bool = False, folder: Path | None = None) -> Encoder:
    """The encoder that the settings ask for, or that of a model folder."""
    return Encoder.open(
        folder or model_dir_of(settings),
        device=cast(Device, settings.encoder.device),
        threads=settings.encoder.threads or None,
        bulk=bulk,
    )


def open_clip_model(settings: Settings, *, bulk: bool = False) -> ClipModel | None:
    """The CLIP model that the settings name, None where the style network says what is shown.

    Errors:  InputError when there is no such model
    """
    if not settings.encoder.subject:
        return None
    from indexer.embedding.clip import ClipModel, clip_folder

    folder = clip_folder(settings.encoder.subject, settings.layout)
    return ClipModel.open(folder, threads=1 if bulk else settings.encoder.threads)


def embed_pending(
    layout: Layout,
    settings: Settings,
    *,
    retry_failed: bool = False,
    dry_run: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
    is_over: Callable[[], bool] = lambda: False,
    encode: EncodeRows | None = None,
) -> EmbedReport:
    """Embed every stored picture that has no vector of the current model, or as many as are
    done when `is_over` says that time is up. Those that only lack a subject vector come last.

    With `retry_failed`, pictures whose decoding failed before are tried again. A picture
    that cannot be decoded becomes a row with a reason; the run goes on. `encode` reads and
    encodes in the place of `encode_rows`, elsewhere.

    Errors:  InputError when the catalog or the model cannot be used; those of `encode`
    """
    started = time.perf_counter()
    encoder = open_encoder(settings, bulk=True)
    catalog, clip = Catalog(layout), open_clip_model(settings, bulk=True)
    subjects_by = encoder.model_id if clip is None else clip.model_id
    pending, incomplete, already = _pending(catalog, encoder, subjects_by, retry_failed)
    if incomplete and clip is None and not encoder.tells_subject:
        already, incomplete = already + len(incomplete), []
    report = EmbedReport({"already": already}, encoder.model_id)
    embedded = {row["picture_id"] for row in incomplete}
    pending = [*pending, *incomplete][:limit]
    if dry_run:
        report.counts["pending"] = len(pending)
        return report

    report.counts |= {"embedded": 0, "skipped": 0, "failed": 0}
    writer = _Writer(catalog, encoder, clip, report, embedded)
    elsewhere, encode = encode is not None, encode or encode_rows
    encoded = encode(layout, settings, encoder, clip, pending, progress)
    done = 0
    try:
        with contextlib.closing(encoded):
            for batch in encoded:
                writer.add(batch)
                done += len(batch)
                if is_over() and done < len(pending):
                    report.counts["left"] = len(pending) - done
                    break
    finally:  # Ctrl-C keeps what was already computed
        writer.commit()
    report.device = None if elsewhere else encoder.running_on
    report.seconds = time.perf_counter() - started
    return report


def _pending(
    catalog: Catalog, encoder: Encoder, subjects_by: str, retry_failed: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Pictures without a vector, those that lack only a subject vector, one row for each picture
    id, and how many lack nothing.

    The tables stay columns: only rows that are to be embedded become Python objects.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    def embedded(table: str, model_id: str) -> pa.ChunkedArray:
        have = catalog.read(table, ["picture_id", "model_id", "preprocessing"])
        mine = pc.and_(
            pc.equal(have["model_id"], model_id),
            pc.equal(have["preprocessing"], encoder.preprocessing_digest),
        )
        return have.filter(mine)["picture_id"]

    known = embedded("vectors", encoder.model_id)
    complete = embedded("subjects", subjects_by)
    statuses = ["stored", "failed"] if retry_failed else ["stored"]
    pictures = searched(catalog, ["picture_id", "status", "file"], places=False)
    wanted = pc.and_(
        pc.is_in(pictures["status"], pa.array(statuses)), pc.is_valid(pictures["file"])
    )
    ids = pictures.filter(wanted)["picture_id"]
    has_vector = pc.is_in(ids, known)
    done = pc.and_(has_vector, pc.is_in(ids, complete))
    already = len(pc.unique(ids.filter(done)))
    pending = pc.unique(ids.filter(pc.invert(done)))
    if not len(pending):
        return [], [], already
    without = set(ids.filter(pc.invert(has_vector)).to_pylist())
    rows: dict[str, dict[str, Any]] = {}
    full = searched(catalog, ["picture_id", "status", "file"], pending)
    for row in full.filter(pc.is_in(full["status"], pa.array(statuses))).to_pylist():
        if row["file"] is not None:
            rows.setdefault(row["picture_id"], row)
    in_order = sorted(rows.values(), key=reading_order)
    new = [row for row in in_order if row["picture_id"] in without]
    return new, [row for row in in_order if row["picture_id"] not in without], already


Outcome = tuple[Row, "EncodedPicture | PictureError"]
"""A row of a picture or panel, and what the network says of it or what is wrong with it."""
EncodeRows = Callable[
    [Layout, Settings, Encoder, "ClipModel | None", Sequence[Row], Progress | None],
    Generator[list[Outcome]],
]
"""The signature of `encode_rows`."""


def encode_rows(
    layout: Layout,
    settings: Settings,
    encoder: Encoder,
    clip: ClipModel | None,
    rows: Sequence[Row],
    progress: Progress | None = None,
) -> Generator[list[Outcome]]:
    """Outcomes of rows (picture_id, file, panel) batch by batch, in order; pictures are decoded a
    bounded window ahead.

    Errors:  what concerns all pictures and not one
    """
    reader = PictureReader(layout, settings.decode.limits)
    read = partial(read_stored, reader, encoder.pixel_spec)
    subject_of = None if clip is None else clip.encode_picture
    yield from _encoded(encoder, read, rows, settings.encoder.batch, subject_of, progress)


def _encoded(
    encoder: Encoder,
    read: Callable[[Job], np.ndarray],
    jobs: Sequence[Job],
    size: int,
    subject_of: Callable[[np.ndarray], np.ndarray] | None = None,
    progress: Progress | None = None,
) -> Generator[list[tuple[Job, EncodedPicture | PictureError]]]:
    """The outcome of each job, `size` at a time."""
    batch: list[tuple[Job, np.ndarray | PictureError]] = []
    for done, (job, outcome) in enumerate(in_order(read, jobs, 4 * size), 1):
        batch.append((job, outcome))
        # Usable or not: of a folder that is gone every picture fails.
        if len(batch) >= size or done == len(jobs):
            good = [one for _, one in batch if not isinstance(one, PictureError)]
            made = iter(encode_each(encoder, good, subject_of))
            yield [
                (job, one if isinstance(one, PictureError) else next(made)) for job, one in batch
            ]
            batch = []
        if progress:
            progress(done, len(jobs))


def read_stored(reader: PictureReader, spec: PixelSpec, row: Row) -> np.ndarray:
    """A stored picture or panel (picture_id, file, panel), checked to be the one that it was, as a
    model takes it.

    Errors:  PictureError
    """
    return prepare(reader.image(row, spec.decode_px), spec)


class EncodedPicture(NamedTuple):
    """One picture of `Encoded`.

    Shapes:  vector (D,), subject (S,)
    """

    vector: np.ndarray
    ood: float
    subject: np.ndarray | None


def encode_each(
    encoder: Encoder,
    pixels: Sequence[np.ndarray],
    subject_of: Callable[[np.ndarray], np.ndarray] | None = None,
) -> list[EncodedPicture | PictureError]:
    """What the network says of each prepared picture, or what is wrong with it; a picture that
    the network cannot take does not cost the others.

    Errors:  those of a network that takes no picture at all
    """
    encode: Callable[[Sequence[np.ndarray]], Encoded] = encoder.encode
    if subject_of is not None:
        encode = partial(encoder.encode, subject_of=subject_of)
    made: list[EncodedPicture | PictureError]
    try:
        made = [*_each(encode(pixels))]
    except Exception as error:
        if concerns_all(error):
            raise
        side_px = encoder.pixel_spec.multiple_px
        encoder.encode([np.zeros((side_px, side_px, 3), np.uint8)])  # is it the network?
        made = [
            one if isinstance(one, PictureError) else next(_each(one))
            for one in (attempt(encode, [picture]) for picture in pixels)
        ]
    return [
        one
        if isinstance(one, PictureError) or np.isfinite(one.vector).all()
        else PictureError(Reason.UNEXPECTED, "the network gives no numbers for it")
        for one in made
    ]


def _each(found: Encoded) -> Iterator[EncodedPicture]:
    subjects = [None] * len(found.ood) if found.subjects is None else found.subjects
    yield from map(EncodedPicture, found.vectors, found.ood.tolist(), subjects)


class _Writer:
    """Collects vectors and refusals, and commits them in batches. Of pictures that are `embedded`
    already only what lacks is written."""

    def __init__(
        self,
        catalog: Catalog,
        encoder: Encoder,
        clip: ClipModel | None,
        report: EmbedReport,
        embedded: set[str],
    ) -> None:
        self.catalog, self.report, self.embedded = catalog, report, embedded
        self.subjects_by = encoder.model_id if clip is None else clip.model_id
        self.model_id, self.preprocessing = encoder.model_id, encoder.preprocessing_digest
        self.ids: list[str] = []
        self.encoded: list[EncodedPicture] = []
        self.refused: list[dict[str, Any]] = []
        self.revived: list[dict[str, Any]] = []
        self.last = time.monotonic()

    def add(self, batch: list[Outcome]) -> None:
        for row, outcome in batch:
            if isinstance(outcome, PictureError):
                self.refuse(row, outcome)
                continue
            self.encoded.append(outcome)
            self.ids.append(row["picture_id"])
            if row["status"] != "stored":
                self.revived.append({**row, "status": "stored", "reason": None})
        if len(self.ids) >= COMMIT_ROWS or time.monotonic() - self.last > COMMIT_SECONDS:
            self.commit()

    def refuse(self, row: Row, error: PictureError) -> None:
        status = "skipped" if error.reason in SKIPPED else "failed"
        self.report.counts[status] += 1
        if row["picture_id"] in self.embedded:
            return  # its vector still answers
        self.refused.append({**row, "status": status, "reason": str(error.reason)})

    def commit(self) -> None:
        if self.ids:
            made = list(zip(self.ids, self.encoded, strict=True))
            new = [(one, found) for one, found in made if one not in self.embedded]
            if new:
                vectors = np.stack([found.vector for _, found in new])
                ood = np.asarray([found.ood for _, found in new])
                ids = [one for one, _ in new]
                self.catalog.append(
                    "vectors", vector_rows(ids, vectors, self.model_id, self.preprocessing, ood)
                )
            told = {one: found.subject for one, found in made if found.subject is not None}
            if told:
                subjects = np.stack(list(told.values()))
                rows = vector_rows(list(told), subjects, self.subjects_by, self.preprocessing)
                self.catalog.append("subjects", rows.drop_columns("ood"))
            counts = self.report.counts
            counts["embedded"] += len(new)
            if len(made) > len(new):
                counts["completed"] = counts.get("completed", 0) + len(made) - len(new)
        self._write_states(self.refused + self.revived)
        self.ids, self.encoded, self.refused, self.revived = [], [], [], []
        self.last = time.monotonic()

    def _write_states(self, rows: list[dict[str, Any]]) -> None:
        """Status and reason of these pictures and panels, in every title that has them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for table, is_panel in (("pictures", False), ("panels", True)):
            states = {
                row["picture_id"]: {"status": row["status"], "reason": row["reason"]}
                for row in rows
                if (row["panel"] is not None) == is_panel
            }
            if states:
                full = self.catalog.read(table)
                known = full.filter(pc.is_in(full["picture_id"], pa.array(list(states))))
                changed = [{**row, **states[row["picture_id"]]} for row in known.to_pylist()]
                self.catalog.upsert(table, changed)


def vector_rows(
    ids: list[str],
    vectors: np.ndarray,
    model_id: str,
    preprocessing: str,
    ood: np.ndarray | None = None,
) -> Any:
    """Rows of the `vectors` table, values rounded to float16.

    Shapes:  vectors (N, D), ood (N,)
    """
    import pyarrow as pa

    flat = vectors.astype(np.float16).astype(np.float32)
    listed = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])
    return pa.table(
        {
            "picture_id": pa.array(ids),
            "model_id": pa.array([model_id] * len(ids)),
            "preprocessing": pa.array([preprocessing] * len(ids)),
            "vector": listed.cast(pa.list_(pa.float32())),
            "ood": pa.array(np.ones(len(ids)) if ood is None else ood, pa.float32()),
        }
    )


# --- Listed pictures, without a catalog: for anybody's own scoring.

Listed = Sequence[tuple[str, Path]]


def listed_pictures(manifest: Path, note: Callable[[str], None]) -> Listed:
    """The pictures of a manifest, as (path as listed, file); rows that list none are a note.

    Errors:  InputError
    """
    listed = read_manifest(manifest)
    for line in listed.notes.lines(NO_PATH, RAGGED):
        note(line)
    return [(row.path, listed.file_of(row)) for row in listed.rows]


@contextlib.contextmanager
def parquet_file(out: Path, schema: pa.Schema) -> Iterator[Callable[[dict[str, object]], None]]:
    """A function that appends columns to a Parquet file, which appears whole or not at all.

    Errors:  InputError when the file cannot be written
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with output_file(out) as file, pq.ParquetWriter(file, schema) as writer:
        yield lambda columns: writer.write_table(pa.table(columns, schema))


def embed_listed(
    settings: Settings, listed: Listed, out: Path, *, progress: Progress | None = None
) -> WorkReport:
    """Write `path` (as listed) and `vector` (D float32, unit length) for each picture.

    Rows keep the list's order; a picture that cannot be used gets a null vector. The file's
    metadata names the model.

    Errors:  InputError when the file cannot be written
    """
    import pyarrow as pa

    encoder = open_encoder(settings, bulk=True)
    facts = {"model_id": encoder.model_id, "preprocessing": encoder.preprocessing_digest}
    schema = pa.schema([("path", pa.string()), ("vector", pa.list_(pa.float32()))], facts)
    report = WorkReport({"embedded": 0, "failed": 0}, encoder.model_id)
    limits = settings.decode.limits

    def read(job: tuple[str, Path]) -> np.ndarray:
        return picture_to_pixels(read_capped(job[1], limits), limits, encoder.pixel_spec)

    with parquet_file(out, schema) as write:
        for batch in _encoded(encoder, read, listed, settings.encoder.batch, progress=progress):
            vectors: list[np.ndarray | None] = []
            for (name, _), one in batch:
                if isinstance(one, PictureError):
                    report.fail(name, one.message)
                    vectors.append(None)
                else:
                    report.counts["embedded"] += 1
                    vectors.append(one.vector)
            write({"path": [name for (name, _), _ in batch], "vector": vectors})
    return report
