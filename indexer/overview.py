"""All generations with their verdicts, as people ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.generations import Generation, current_generation_id, generation_ids
from indexer.manifests import check_files, read_manifest
from schemas.errors import NoIndexError
from schemas.layout import Layout


@dataclass(frozen=True)
class GenerationInfo:
    """One generation as `toonsearch index list` shows it; `state` is ok or damaged: why."""

    id: str
    created: str
    published: bool
    pictures_count: int
    titles_count: int
    authors_count: int
    model_id: str
    parent: str | None
    bytes_count: int
    state: str


def verify_generation(layout: Layout, generation_id: str | None = None) -> GenerationInfo:
    """Prove a generation (the published one by default).

    Errors:  NoIndexError says what is damaged
    """
    with Generation.open(layout, generation_id) as generation:
        return _info(layout, generation.directory, generation.manifest, "ok")


def list_generations(layout: Layout) -> list[GenerationInfo]:
    """All generations, oldest first, each with its verdict."""
    found = []
    for name in generation_ids(layout):
        directory = layout.generation(name)
        try:
            manifest = read_manifest(directory)
            check_files(directory, manifest)
            found.append(_info(layout, directory, manifest, "ok"))
        except NoIndexError as error:
            blank: dict[str, Any] = {
                "counts": {},
                "created": "",
                "model_id": "",
                "parent": None,
                "files": {},
            }
            found.append(_info(layout, directory, {"id": name, **blank}, error.message))
    return found


def _info(layout: Layout, directory: Path, manifest: dict[str, Any], state: str) -> GenerationInfo:
    counts = manifest["counts"]
    return GenerationInfo(
        id=directory.name,
        created=manifest["created"],
        published=current_generation_id(layout) == directory.name,
        pictures_count=counts.get("pictures", 0),
        titles_count=counts.get("titles", 0),
        authors_count=counts.get("authors", 0),
        model_id=manifest["model_id"],
        parent=manifest["parent"],
        bytes_count=sum(facts["bytes"] for facts in manifest["files"].values()),
        state=state,
    )
