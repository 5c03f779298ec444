"""Embeds listed pictures into a Parquet file, without a catalog: for anybody's own scoring."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.embedding.embed import in_order, open_encoder
from indexer.embedding.encoder import Encoder
from indexer.embedding.preprocess import Prepared, picture_to_pixels
from indexer.labels.deviation import common_deviation
from schemas.images import PictureError, PictureLimits, Reason
from schemas.manifest import read_manifest
from schemas.progress import Progress
from schemas.settings import Settings
from schemas.storage.fsio import fsync_directory, storage_error

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 256
MAX_PROBLEMS = 20
Listed = Sequence[tuple[str, Path]]


def listed_pictures(manifest: Path) -> Listed:
    """The pictures of a manifest, as (path as listed, file).

    Errors:  InputError
    """
    root = manifest.resolve().parent
    return [(row.path, root / row.path) for row in read_manifest(manifest) if row.path]


@dataclass(frozen=True)
class ListedVector:
    """One listed picture: its vector (D,), or None and what is wrong with it; and how unlike what
    the model knows it is (`indexer/labels/deviation.py`), where that is known."""

    name: str
    vector: np.ndarray | None
    problem: str | None = None
    deviation: float | None = None


def listed_vectors(
    encoder: Encoder, limits: PictureLimits, listed: Listed, progress: Progress | None = None
) -> Iterator[list[ListedVector]]:
    """Vectors of listed pictures in the list's order, batch by batch.

    A picture that cannot be used does not stop the others.
    """
    spec = encoder.pixel_spec

    def read(job: tuple[str, Path]) -> Prepared | PictureError:
        try:
            return picture_to_pixels(job[1].read_bytes(), limits, spec)
        except PictureError as error:
            return error
        except OSError as error:
            return PictureError(Reason.UNREADABLE, f"cannot be read ({error.strerror})")

    batch: list[tuple[str, Prepared | PictureError]] = []
    for done, ((name, _), outcome) in enumerate(in_order(read, listed, 128), 1):
        batch.append((name, outcome))
        if len(batch) == BATCH_ROWS or done == len(listed):
            good = [part for _, part in batch if not isinstance(part, PictureError)]
            seen = encoder.look(good)
            made = zip(seen.vectors, seen.deviation[:, None], strict=True)
            yield [
                ListedVector(name, None, part.message)
                if isinstance(part, PictureError)
                else _found(name, *next(made))
                for name, part in batch
            ]
            batch = []
        if progress:
            progress(done, len(listed))


def _found(name: str, vector: np.ndarray, deviation: np.ndarray) -> ListedVector:
    return ListedVector(name, vector, deviation=common_deviation(deviation))


@contextlib.contextmanager
def parquet_file(out: Path, schema: pa.Schema) -> Iterator[Callable[[dict[str, object]], None]]:
    """A function that appends columns to a Parquet file, which appears whole or not at all.

    Errors:  InputError when the file cannot be written
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    aside = out.with_name(f".{out.name}.tmp")
    try:
        with pq.ParquetWriter(aside, schema) as writer:
            yield lambda columns: writer.write_table(pa.table(columns, schema))
        aside.replace(out)
        fsync_directory(out.absolute().parent)
    except OSError as error:
        raise storage_error(error, str(out)) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()


@dataclass
class ListingReport:
    """What was written; `problems` are the first few pictures without a vector."""

    model_id: str
    embedded: int
    failed: int
    problems: list[str]

    def count(self, batch: Sequence[ListedVector]) -> None:
        """Take a batch into account."""
        bad = [row for row in batch if row.vector is None]
        self.embedded += len(batch) - len(bad)
        self.failed += len(bad)
        room = MAX_PROBLEMS - len(self.problems)
        self.problems += [f"{row.name}: {row.problem}" for row in bad[:room]]


def embed_listed(
    settings: Settings, listed: Listed, out: Path, *, progress: Progress | None = None
) -> ListingReport:
    """Write `path` (as listed) and `vector` (D float32, unit length) for each picture.

    Rows keep the list's order; a picture that cannot be used gets a null vector. The file's
    metadata names the model.

    Errors:  InputError when the file cannot be written
    """
    import pyarrow as pa

    encoder = open_encoder(settings, bulk=True)
    facts = {"model_id": encoder.model_id, "preprocessing": encoder.preprocessing_digest}
    schema = pa.schema([("path", pa.string()), ("vector", pa.list_(pa.float32()))], facts)
    report = ListingReport(encoder.model_id, 0, 0, [])
    with parquet_file(out, schema) as write:
        for batch in listed_vectors(encoder, settings.decode.limits, listed, progress):
            write({"path": [row.name for row in batch], "vector": [row.vector for row in batch]})
            report.count(batch)
    return report
