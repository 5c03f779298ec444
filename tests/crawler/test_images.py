"""What is checked before a picture is stored, and under which name it lies there."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from crawler.images import check_and_store
from schemas.images import PictureLimits, Reason
from schemas.storage.layout import Layout
from tests.search.artists import draw

LIMITS = PictureLimits()


def saved(format: str, **options: object) -> bytes:
    out = io.BytesIO()
    draw(1, 4).save(out, format, **options)
    return out.getvalue()


def test_a_file_of_several_jpegs_is_stored_as_a_jpeg(tmp_path: Path) -> None:
    several = saved("MPO", save_all=True, append_images=[draw(0, 1)])
    assert Image.open(io.BytesIO(several)).format == "MPO"
    stored = check_and_store(Layout(tmp_path), LIMITS, several)
    assert (stored.status, stored.format) == ("stored", "JPEG")
    assert stored.file is not None and stored.file.endswith(".jpg")
    assert Layout(tmp_path).picture(stored.file).read_bytes() == several
    plain = check_and_store(Layout(tmp_path), LIMITS, saved("JPEG"))
    assert stored.perceptual_hash == plain.perceptual_hash


@pytest.mark.parametrize("format", ["BMP", "TIFF", "ICO", "PPM", "AVIF", "DDS", "QOI"])
def test_any_other_format_is_a_row(tmp_path: Path, format: str) -> None:
    row = check_and_store(Layout(tmp_path), LIMITS, saved(format))
    assert (row.status, row.reason) == ("skipped", Reason.FORMAT)


def test_a_decoder_that_fails_in_an_unknown_way_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise SystemError("error return without exception set")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fails)
    row = check_and_store(Layout(tmp_path), LIMITS, saved("PNG"))
    assert (row.status, row.reason) == ("failed", Reason.DAMAGED)
