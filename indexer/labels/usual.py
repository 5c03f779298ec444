"""What a catalog's own pictures are like to a model: a sample of them, encoded anew.

Vectors have unit length and do not say it, so that catalogs which were embedded before anybody
asked for it need not be embedded again.
"""

from __future__ import annotations

import numpy as np

from indexer.embedding.embed import in_order, open_encoder, read_stored
from indexer.labels.deviation import UsualDeviation
from indexer.vector_index.rows import IndexRows
from schemas.images import PictureError
from schemas.settings import Settings
from schemas.storage.layout import Layout

SAMPLE = 512
"""Pictures: thirteen seconds on two cores."""


def usual_deviation(layout: Layout, settings: Settings, rows: IndexRows) -> UsualDeviation | None:
    """The usual deviation of an index's pictures; None where too few of them can be read.

    What has gone from the store, or was changed there, is left out: it is the catalog's matter.

    Errors:  NoIndexError when the model is damaged
    """
    encoder = open_encoder(settings, bulk=True)
    chosen = _sample(rows, np.random.default_rng(settings.index.seed))
    limits, spec, batch = settings.decode.limits, encoder.pixel_spec, settings.encoder.batch
    found, waiting = [], []
    jobs = [rows.pictures[row] for row in chosen.tolist()]
    read = in_order(
        lambda row: read_stored(layout, row["file"] or "", row["picture_id"], limits, spec),
        jobs,
        2 * batch,
    )
    for done, (_, picture) in enumerate(read, 1):
        if not isinstance(picture, PictureError):
            waiting.append(picture)
        if len(waiting) == batch or done == len(jobs):
            found.append(encoder.encode(waiting).ood)
            waiting = []
    return UsualDeviation.of(np.concatenate([np.empty(0), *found]))


def _sample(rows: IndexRows, rng: np.random.Generator) -> np.ndarray:
    """Positions of SAMPLE pictures, weighted so that one long title does not rule; (M,)"""
    titles = np.array([row["title_id"] for row in rows.pictures])
    _, title, counts = np.unique(titles, return_inverse=True, return_counts=True)
    weight = 1.0 / np.sqrt(counts[title.reshape(-1)])
    size = min(SAMPLE, len(titles))
    return np.sort(rng.choice(len(titles), size, replace=False, p=weight / weight.sum()))
