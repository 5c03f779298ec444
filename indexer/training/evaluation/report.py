"""The evaluation as a page to look at: self-contained, works offline, light and dark."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from indexer.training.evaluation.charts import (
    bar_chart,
    confusion_matrix,
    reliability_diagram,
    retrieval_curves,
)
from indexer.training.evaluation.protocol import Evaluation, render
from indexer.training.evaluation.retrieval import Ground
from schemas.images import PictureLimits, decode_picture
from schemas.storage.fsio import replace_file, storage_error

THUMBNAIL_PX = 132
JPEG_QUALITY = 72
SHEET_QUERIES = 14
HITS = 6
EXTREME_AUTHORS = 5
PICTURES_PER_AUTHOR = 6


def write_report(target: Path, found: Evaluation) -> None:
    """Write the page.

    Errors:  InputError when it cannot be written
    """
    page = _page(found)
    try:
        replace_file(target, page.encode())
    except OSError as error:
        raise storage_error(error, str(target)) from error


def judged(found: Evaluation) -> int:
    """The row whose labels were measured: the model, or its recipe where it knows too much."""
    names = [row.name for row in found.retrieval]
    wanted = next(row.name for row in reversed(found.retrieval) if row.robustness)
    return names.index(wanted)


def _page(found: Evaluation) -> str:
    row = judged(found)
    name = found.retrieval[row].name
    sheet = queries_of(found, row)
    told = found.labels.told
    parts = [
        f"<h1>Evaluation</h1><p class=note>{escape(_about(found))}</p>",
        "<h2>Figures</h2>",
        tables_to_html(render(found)),
        "<h2>How soon the right hand is found</h2>",
        retrieval_curves(found.retrieval),
        f"<h2>Real retrievals, failures included</h2><p class=note>{escape(name)}; first split, "
        "queries by authors that nothing was learnt from, every so many-th one, not chosen. "
        "Green: the same author in another series. Red: another author.</p>",
        retrieval_sheet(found.ground, sheet),
        "<h2>Best and worst authors</h2>",
        _authors(found, row),
    ]
    for kind, title in (("author", "Authors"), ("era, 20 years", "Eras"), ("genre", "Genres")):
        if kind in told:
            parts += [
                f"<h2>{title} of held-out series</h2>",
                "<div class=pair>",
                confusion_matrix(told[kind].truth, told[kind].predicted),
                reliability_diagram(
                    told[kind].confidence, told[kind].predicted == told[kind].truth
                ),
                "</div>",
            ]
    if views := found.retrieval[row].robustness:
        parts += [
            "<h2>Views</h2><p class=note>Loss of R@1 in points when only the query is changed.</p>",
            bar_chart({view: 100 * loss for view, loss in views.items()}, unit=" points"),
        ]
    return TEMPLATE.replace("{title}", "toonsearch: evaluation").replace("{body}", "\n".join(parts))


def _about(found: Evaluation) -> str:
    facts = found.to_json()["benchmark"]
    text = (
        f"{facts['pictures']:,} pictures by {facts['authors']} authors in {facts['series']} series "
        f"({facts['name']}); {facts['splits']} author-disjoint splits; model {found.model}"
    )
    return f"{text}: {found.model_note}" if found.model_note else text


def tables_to_html(markdown: str) -> str:
    """Our own Markdown tables as HTML tables."""
    parts, rows = [], list[str]()
    for line in [*markdown.split("\n"), ""]:
        if line.startswith("|"):
            if not line.startswith("| ---"):
                tag = "td" if rows else "th"
                cells = [cell.strip() for cell in line.strip("|").split("|")]
                rows.append("".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells))
            continue
        if rows:
            body = "".join(f"<tr>{row}</tr>" for row in rows)
            parts.append(f"<div class=wide><table>{body}</table></div>")
            rows = []
        if line:
            parts.append(re.sub("`([^`]+)`", r"<code>\1</code>", f"<p>{escape(line)}</p>"))
    return "".join(parts)


class Sheet(list[tuple[int, list[tuple[int, float, bool]]]]):
    """Queries with their hits: (row, [(row, similarity, right)])."""


def queries_of(found: Evaluation, row: int, count: int = SHEET_QUERIES) -> Sheet:
    """Evenly spaced queries of the first split, with what a space finds for them."""
    ground, space = found.ground, found.spaces[row]
    whole = ground.vectors(space, 0, bool(found.retrieval[row].robustness)).full
    test = ground.test[0]
    manifest = ground.store.bench.manifest
    gallery, figures = whole.part(test), ground.figures(0, whole)
    # One query of each of so many authors, the middle one of those that count.
    names = np.unique(figures.authors)
    chosen = names[np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).astype(int))]
    sheet = Sheet()
    for name in chosen:
        own = figures.rows[figures.authors == name]
        query = int(own[len(own) // 2])
        allowed = manifest.series[test] != manifest.series[test[query]]
        allowed &= ~ground.copies(0)[query]
        asked = gallery.questions.part(np.array([query]))
        similarity = np.where(allowed, gallery.similarity(asked)[0], -np.inf)
        order = np.argsort(-similarity, kind="stable")[:HITS]
        hits = [
            (
                int(test[hit]),
                float(similarity[hit]),
                bool(manifest.authors[test[hit]] == manifest.authors[test[query]]),
            )
            for hit in order
        ]
        sheet.append((int(test[query]), hits))
    return sheet


def retrieval_sheet(ground: Ground, sheet: Sheet) -> str:
    """Queries on the left, their hits beside them, right or wrong."""
    authors = ground.store.bench.manifest.authors
    lines = []
    for query, hits in sheet:
        cells = [_figure(ground, query, f"query: {authors[query]}", "query")]
        for hit, similarity, right in hits:
            text = f"{authors[hit]} · {similarity:.2f}"
            cells.append(_figure(ground, hit, text, "right" if right else "wrong"))
        lines.append(f"<div class=line>{''.join(cells)}</div>")
    return "".join(lines)


def _figure(ground: Ground, row: int, caption: str, kind: str) -> str:
    mark = {"right": "✓ ", "wrong": "✗ "}.get(kind, "")
    return (
        f"<figure class={kind}><img alt='{escape(caption, quote=True)}' loading=lazy "
        f"src='{thumbnail(ground, row)}'><figcaption>{mark}{escape(caption)}</figcaption></figure>"
    )


def thumbnail(ground: Ground, row: int) -> str:
    """A small copy of a picture as a data URL."""
    manifest = ground.store.bench.manifest
    data = (manifest.root / manifest.paths[row]).read_bytes()
    image = decode_picture(data, PictureLimits(), target_px=2 * THUMBNAIL_PX)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _authors(found: Evaluation, row: int) -> str:
    """Authors that are found most and least often, over all splits, with their pictures."""
    ground, space = found.ground, found.spaces[row]
    right: dict[str, list[float]] = {}
    for split in range(len(ground.test)):
        gallery = ground.vectors(space, split, bool(found.retrieval[row].robustness)).full
        figures = ground.figures(split, gallery)
        for author, hit in zip(figures.authors.tolist(), figures.right_at_1.tolist(), strict=True):
            right.setdefault(author, []).append(float(hit))
    ranked = sorted(right, key=lambda author: -float(np.mean(right[author])))
    shown: Sequence[str] = ranked
    if len(ranked) > 2 * EXTREME_AUTHORS:
        shown = [*ranked[:EXTREME_AUTHORS], *ranked[-EXTREME_AUTHORS:]]
    lines = []
    authors = ground.store.bench.manifest.authors
    for author in shown:
        own = np.flatnonzero(authors == author)
        spread = own[np.unique(np.linspace(0, len(own) - 1, PICTURES_PER_AUTHOR).astype(int))]
        share = float(np.mean(right[author]))
        head = f"<div class=who><b>{escape(author)}</b><br>R@1 {share:.2f}"
        head += f"<br>{len(right[author])} queries</div>"
        cells = "".join(_figure(ground, int(place), "", "plain") for place in spread)
        lines.append(f"<div class=line>{head}{cells}</div>")
    return "".join(lines)


TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<style>
:root{color-scheme:light dark;--ink:#1d2026;--paper:#fff;--line:#d9dce3;--good:#1d8348;
--bad:#c0392b;
--accent:#2f6fdb;--soft:#6b7280}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaf0;--paper:#16181d;--line:#343842;--good:#58c98a;
--bad:#ff7b6b;--accent:#7aa7ff;--soft:#9aa3b2}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1200px;
margin:0 auto;padding:1.5rem}
h1{font-size:1.7rem}h2{font-size:1.2rem;margin-top:2.4rem;border-top:1px solid var(--line);
padding-top:1rem}.note{color:var(--soft);max-width:50rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.82rem;font-variant-numeric:tabular-nums}
td,th{border-bottom:1px solid var(--line);padding:.25rem .6rem;text-align:left;white-space:nowrap}
td:first-child{white-space:normal;min-width:9rem}
.line{display:flex;gap:.5rem;align-items:flex-start;margin:.5rem 0;overflow-x:auto}
figure{margin:0;width:140px;flex:none;font-size:.72rem}figure img{max-width:132px;max-height:132px;
border:3px solid transparent;background:#fff;border-radius:4px}
figure.right img{border-color:var(--good)}figure.wrong img{border-color:var(--bad)}
figure.query img{border-color:var(--accent)}figcaption{color:var(--soft);overflow-wrap:anywhere}
.right figcaption{color:var(--good)}.wrong figcaption{color:var(--bad)}
.who{width:150px;flex:none;font-size:.85rem}.pair{display:flex;flex-wrap:wrap;gap:1rem}
svg{max-width:100%;height:auto}svg text{fill:var(--ink);font:11px system-ui,sans-serif}
</style></head><body>
{body}
</body></html>
"""
