"""Gathers the answers and writes the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from indexer.duplicates import find_copies
from indexer.embedding.embed import in_order
from schemas.errors import ToonsearchError
from schemas.images import decode_picture
from schemas.settings import Settings
from schemas.storage.fsio import replace_file, storage_error
from search.output.html import check_target
from search.report import charts, looks, works
from search.report import queries as questions
from search.report.page import Page
from search.report.queries import Answers, Note
from search.sql.session import SqlSession

THUMB_PX = 112


def write_report(settings: Settings, target: Path, note: Note | None = None) -> int:
    """Write the report; returns its size in bytes.

    Errors:  InputError when the catalog cannot be read or the file not be written
    """
    check_target(target)
    say = note or (lambda text: None)
    with SqlSession(settings.layout, settings) as asked:
        answers = Answers(asked, say)
        page = _page(settings, answers, say)
    counts = answers.one(questions.COUNTS)
    subtitle = (
        f"{counts['pictures']:,} pictures in {counts['titles']:,} titles"
        f" by {counts['authors']:,} authors · written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    )
    data = page.html("How a catalog draws", subtitle).encode()
    try:
        replace_file(target.absolute(), data)
    except OSError as error:
        raise storage_error(error, str(target)) from error
    return len(data)


def _page(settings: Settings, answers: Answers, say: Note) -> Page:
    say("comparing drawings")
    copies = find_copies(settings.layout, settings)
    authors = answers.rows(questions.AUTHOR_STYLES)
    say("reading pictures")
    files = [row["file"] for row in answers.rows(questions.DISTINCTIVE)]
    files += [row["file"] for row in answers.rows(questions.AMBIGUOUS)]
    files += [file for row in authors[:400] for file in row["files"]]
    shown = [*copies.copied[: looks.PAIRS], *copies.near[: looks.PAIRS // 2]]
    files += [holder.file for pair in shown for holder in (pair.first, pair.second)]
    page = Page(_thumbnails(settings, files))
    genres = [row["genre"] for row in answers.rows(questions.GENRES)]
    hues = charts.hue_of(genres)
    works.size(page, answers)
    works.genres(page, answers, hues)
    works.titles(page, answers)
    say("laying out the map of authors")
    works.authors(page, authors, hues)
    works.drift(page, answers)
    looks.palettes(page, answers)
    looks.eras(page, answers, settings)
    looks.copies(page, copies)
    looks.coverage(page, answers)
    return page


def _thumbnails(settings: Settings, files: Iterable[str | None]) -> dict[str, str]:
    """Small copies of stored pictures as data URIs; those that cannot be read are left out."""
    wanted = list(dict.fromkeys(file for file in files if file))
    limits = settings.decode.limits

    def read(file: str) -> str | None:
        try:
            data = settings.layout.picture(file).read_bytes()
            image = decode_picture(data, limits, target_px=THUMB_PX)
        except (OSError, ToonsearchError):
            return None
        image.thumbnail((THUMB_PX, THUMB_PX))
        held = io.BytesIO()
        image.save(held, "WEBP", quality=62, method=4)
        packed = base64.standard_b64encode(held.getvalue()).decode("ascii")
        return f"data:image/webp;base64,{packed}"

    return {file: uri for file, uri in in_order(read, wanted, 64) if uri is not None}
