"""Manifests: what a generation consists of, and the proof that it still does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import blake3

from schemas.errors import NoIndexError

FORMAT = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
REBUILD = "Run `toonsearch index build`, or `toonsearch index rollback` for the one before."


def digest_file(path: Path) -> str:
    """BLAKE3 of a file through a memory map, in hex."""
    return blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(path).hexdigest()


def manifest_bytes(body: dict[str, Any]) -> bytes:
    """The one serialisation of a manifest, which carries the digest of the rest of itself."""
    plain = {key: value for key, value in body.items() if key != "digest"}
    digest = blake3.blake3(_canonical(plain)).hexdigest()
    return _canonical({**plain, "digest": digest})


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, ensure_ascii=True, indent=1).encode() + b"\n"


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
        body = json.loads(data)
        if manifest_bytes(body) != data:  # any changed byte, white space included
            raise ValueError("digest does not match")
    except (ValueError, AttributeError, RecursionError) as error:
        raise NoIndexError(f"generation {name} is damaged: {MANIFEST}", REBUILD) from error
    if body.get("format") != FORMAT:
        raise NoIndexError(
            f"generation {name} has format {body.get('format')}, this program reads {FORMAT}",
            "Upgrade toonsearch, or rebuild with `toonsearch index build`.",
        )
    if body.get("id") != name:
        raise NoIndexError(f"generation {name} holds the files of {body.get('id')}", REBUILD)
    return dict(body)


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
