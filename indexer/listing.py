"""Embeds listed pictures into a Parquet file, without a catalog: for anybody's own scoring."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.ahead import in_order
from indexer.embed import open_encoder
from indexer.pixels import picture_to_pixels
from schemas.durable import fsync_directory, storage_error
from schemas.pictures import PictureError, Reason
from schemas.settings import Settings

BATCH_ROWS = 256
MAX_PROBLEMS = 20


@dataclass
class ListingReport:
    """What was written; `problems` are the first few pictures without a vector."""

    model_id: str
    embedded: int
    failed: int
    problems: list[str]


def embed_listed(
    settings: Settings,
    listed: Sequence[tuple[str, Path]],
    out: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ListingReport:
    """Write `path` (as listed) and `vector` (D float32, unit length) for each picture.

    Rows keep the list's order. A picture that cannot be used gets a null vector and does not
    stop the others. The file appears whole or not at all; its metadata names the model.

    Errors:  InputError when the file cannot be written
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    encoder = open_encoder(settings, bulk=True)
    limits, spec = settings.decode.limits, encoder.pixel_spec
    facts = {"model_id": encoder.model_id, "preprocessing": encoder.preprocessing_digest}
    schema = pa.schema([("path", pa.string()), ("vector", pa.list_(pa.float32()))], facts)
    report = ListingReport(encoder.model_id, 0, 0, [])

    def read(job: tuple[str, Path]) -> np.ndarray | PictureError:
        try:
            return picture_to_pixels(job[1].read_bytes(), limits, spec)
        except PictureError as error:
            return error
        except OSError as error:
            return PictureError(Reason.UNREADABLE, f"cannot be read ({error.strerror})")

    aside = out.with_name(f".{out.name}.tmp")
    try:
        with pq.ParquetWriter(aside, schema) as writer:
            names: list[str] = []
            pixels: list[np.ndarray | None] = []
            for done, ((name, _), outcome) in enumerate(in_order(read, listed, 128), 1):
                names.append(name)
                if isinstance(outcome, PictureError):
                    pixels.append(None)
                    report.failed += 1
                    if len(report.problems) < MAX_PROBLEMS:
                        report.problems.append(f"{name}: {outcome.message}")
                else:
                    pixels.append(outcome)
                if len(names) == BATCH_ROWS or done == len(listed):
                    good = [part for part in pixels if part is not None]
                    made = iter(encoder.encode(good) if good else ())
                    vectors = [None if part is None else next(made) for part in pixels]
                    writer.write_table(pa.table({"path": names, "vector": vectors}, schema))
                    report.embedded += len(good)
                    names, pixels = [], []
                if progress:
                    progress(done, len(listed))
        aside.replace(out)
        fsync_directory(out.absolute().parent)
    except OSError as error:
        raise storage_error(error, str(out)) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()
    return report
