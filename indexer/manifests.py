"""Manifests: what a generation consists of, and the proof that it still does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.digests import digest_file, read_signed
from schemas.errors import NoIndexError

FORMAT = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
REBUILD = "Run `toonsearch index build`, or `toonsearch index rollback` for the one before."


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read and prove a manifest.

    Errors:  NoIndexError when it is missing, damaged or of a newer format
    """
    name = directory.name
    try:
        with (directory / MANIFEST).open("rb") as handle:
            data = handle.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise NoIndexError(
            f"generation {name} has no readable manifest ({error.strerror})", REBUILD
        ) from error
    try:
        body = read_signed(data)
    except ValueError as error:
        raise NoIndexError(f"generation {name} is damaged: {MANIFEST}", REBUILD) from error
    if body.get("format") != FORMAT:
        raise NoIndexError(
            f"generation {name} has format {body.get('format')}, this program reads {FORMAT}",
            "Upgrade toonsearch, or rebuild with `toonsearch index build`.",
        )
    if body.get("id") != name:
        raise NoIndexError(f"generation {name} holds the files of {body.get('id')}", REBUILD)
    return body


def check_files(directory: Path, manifest: dict[str, Any]) -> None:
    """Prove every file's length and digest; files that are not listed are ignored.

    Errors:  NoIndexError names the first file that is missing or damaged
    """
    for name, facts in sorted(manifest["files"].items()):
        path = directory / name
        try:
            right = path.stat().st_size == facts["bytes"] and (digest_file(path) == facts["blake3"])
        except (OSError, ValueError) as error:
            raise NoIndexError(
                f"generation {directory.name} is damaged: {name} cannot be read", REBUILD
            ) from error
        if not right:
            raise NoIndexError(f"generation {directory.name} is damaged: {name}", REBUILD)
