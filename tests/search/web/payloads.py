"""Text that tries to become script, in the places that hold text."""

from __future__ import annotations

import io
import json
from pathlib import Path

from crawler.importers.manifest import import_manifest
from indexer.embedding.embed import embed_pending
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import publish
from schemas.settings import Settings, load_settings
from tests.search.artists import draw
from tests.small_model import ENVIRON

CALL = "window.__ran=1"
SHAPES = (
    "<script>{c}</script>", "<img src=x onerror={c}>", "<svg onload={c}>",
    "\"><script>{c}</script>",
    "'><img src=x onerror={c}>", "javascript:{c}", "<iframe srcdoc='<script>{c}</script>'>",
    "<a href=javascript:{c}>x</a>", "</title><script>{c}</script>", "</style><script>{c}</script>",
    "<body onload={c}>", "<details open ontoggle={c}>", "<math><mtext></mtext><script>{c}</script>",
    "{{{{constructor.constructor('{c}')()}}}}", "${{{c}}}", "<input autofocus onfocus={c}>",
    "<template><script>{c}</script></template>", "<object data=javascript:{c}>",
    "<form action=javascript:{c}><button>", "--><script>{c}</script>", "]]><script>{c}</script>",
    "<meta http-equiv=refresh content='0;url=javascript:{c}'>", "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/>", "<video><source onerror={c}></video>",
)  # fmt: skip
TWISTS = (
    lambda text: text,
    str.upper,
    lambda text: text.replace("<", "&lt;"),
    lambda text: text.replace("<", "\\u003c"),
    lambda text: text.replace(" ", "/"),
    lambda text: f"\u202e{text}\u2028",
    lambda text: f"%3C{text}%3E",
    lambda text: text.replace("<", "\uff1c"),
)
PAYLOADS = [twist(shape.format(c=CALL)) for shape in SHAPES for twist in TWISTS]


def hostile_index(root: Path) -> Settings:
    """An index whose titles, authors, genres, tags and addresses are all payloads."""
    folder = root / "pictures"
    folder.mkdir(parents=True)
    lines = []
    for number, payload in enumerate(PAYLOADS):
        held = io.BytesIO()
        draw(number % 3, number).resize((64, 48)).save(held, "PNG")
        (folder / f"{number}.png").write_bytes(held.getvalue())
        url = f"javascript:{CALL}" if number % 2 else f'https://example.org/"><script>{CALL}//'
        lines.append({
            "path": f"pictures/{number}.png", "title": f"{payload} t{number}",
            "author": f"{payload} a{number % 50}", "genre": payload, "url": url,
            "year": str(1990 + number % 30), "tags": payload, "title_id": f"x:{payload}{number}",
        })  # fmt: skip
    write_csv(root / "works.csv", lines)
    settings = load_settings({"store.root": str(root / "data")}, environ=ENVIRON, cwd=root)
    import_manifest(settings.layout, settings, root / "works.csv")
    embed_pending(settings.layout, settings)
    report = build_generation(settings.layout, settings)
    assert report.generation_id is not None, json.dumps(report.counts)
    publish(settings.layout, report.generation_id)
    return settings


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
