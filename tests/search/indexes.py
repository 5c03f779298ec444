"""Pictures as queries, and indexes to ask, for tests that draw their own."""

from __future__ import annotations

import io

from PIL import Image

from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import publish
from schemas.settings import Settings
from search.inputs import QueryPicture


def encoded(*images: Image.Image) -> list[QueryPicture]:
    """Queries of PNG files that lie nowhere."""
    found = []
    for number, image in enumerate(images):
        data = io.BytesIO()
        image.save(data, "PNG")
        found.append(QueryPicture(f"{number}.png", data.getvalue()))
    return found


def published(settings: Settings, *, force: bool = False) -> str:
    """Build an index of what is embedded and publish it; returns its generation's id."""
    report = build_generation(settings.layout, settings, force=force)
    assert report.generation_id is not None
    publish(settings.layout, report.generation_id)
    return report.generation_id
