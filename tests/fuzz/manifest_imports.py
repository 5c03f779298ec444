"""Manifests as all programs write them give their rows; damaged ones give rows or an `InputError`;
and an import of either accounts for every listed picture."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import asdict
from pathlib import Path

from schemas.errors import InputError
from schemas.manifest import NO_PATH, read_manifest
from tests.fuzz import commands
from tests.fuzz.commands import check_import
from tests.fuzz.manifests import random_manifest
from tests.fuzz.samples import Rng, png


def make(rng: Rng, folder: Path) -> None:
    """Write a manifest with its rows, some of its pictures, and perhaps damage it."""
    below = folder / "lists"
    below.mkdir()
    file, rows = random_manifest(random.Random(int(rng.integers(2**62))), below)
    is_sound = bool(rng.integers(2))
    if not is_sound:
        file.write_bytes(_damaged(rng, file.read_bytes()))
    is_imported = not rng.integers(commands.IMPORTED)
    for row in rows if is_imported else ():
        picture = below / row.path
        if rng.integers(4) and not picture.exists():
            picture.parent.mkdir(exist_ok=True)
            picture.write_bytes(png(rng))
    facts = {"file": file.name, "is_imported": is_imported,
             "rows": _plain(rows) if is_sound else None}  # fmt: skip
    (folder / "case.json").write_text(json.dumps(facts), "utf-8")


def check(folder: Path) -> None:
    """Read it, and import it."""
    facts = json.loads((folder / "case.json").read_text("utf-8"))
    file, data = folder / "lists" / facts["file"], folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    rows, nowhere = None, 0
    try:
        found = read_manifest(file)
        rows, nowhere = _plain(found.rows), found.notes.count(NO_PATH)
    except InputError as error:
        assert facts["rows"] is None, error
    if facts["rows"] is not None:
        assert rows == facts["rows"]
    if facts["is_imported"]:
        said = check_import(data, "manifest", str(file), nowhere=nowhere)
        if said is not None and rows is not None:
            assert said["files"] <= len(rows) + nowhere


def _plain(rows: list[object]) -> list[dict[str, object]]:
    """Rows as JSON holds them, without their numbers."""
    made = [{**asdict(row), "number": 0} for row in rows]  # type: ignore[call-overload]
    return json.loads(json.dumps(made, default=str))  # type: ignore[no-any-return]


def _damaged(rng: Rng, data: bytes) -> bytes:
    """The same with bytes or whole parts changed, moved, repeated or cut off."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not found:
            break
        one, two = sorted(rng.integers(0, len(found) + 1, 2).tolist())
        what = int(rng.integers(7))
        if what == 0:
            found[one % len(found)] = int(rng.integers(256))
        elif what == 1:
            del found[one:two]
        elif what == 2:
            found[one:one] = found[one:two]
        elif what == 3:
            found[one:one] = rng.bytes(int(rng.integers(1, 9)))
        elif what == 4:
            odd = [b'"', b"\0", b"\n", b"\r", b",", b"\t", b"\xff\xfe", b'"' * 3, b"\xef\xbb\xbf",
                   b"\x1a", b"=1+1", b"\xed\xa0\x80", b"x" * 2_000_000]  # fmt: skip
            found[one:one] = odd[int(rng.integers(len(odd)))]
        elif what == 5:
            del found[two:]
        else:
            found = found[::-1] if not rng.integers(10) else found + found
    return bytes(found)
