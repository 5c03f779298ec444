"""One reader of manifests: three formats say the same, and errors name the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import manifest
from schemas.errors import InputError
from schemas.manifest import ManifestRow, read_manifest

CELLS: list[dict[str, Any]] = [
    {"path": "a.png", "author": "Kim; Lee;kim", "series": "One", "genre": "myth;epic",
     "year": 1999, "note": "left alone"},
    {"path": "b.png", "author": "Jose\u0301  G", "series": None, "genre": None, "year": None,
     "note": None},
]  # fmt: skip
ROWS = [
    ManifestRow(2, "a.png", ("Kim", "Lee"), "One", genres=("myth", "epic"), year="1999"),
    ManifestRow(3, "b.png", ("José G",)),
]


def written(file: Path) -> Path:
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(CELLS), file)
        return file
    mark = "\t" if file.suffix == ".tsv" else ","
    lines = [list(CELLS[0])] + [
        ["" if v is None else str(v) for v in row.values()] for row in CELLS
    ]
    lines[0][0] = " Path "
    file.write_text("\ufeff" + "\n".join(mark.join(line) for line in lines) + "\n\n", "utf-8")
    return file


@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.parquet", "m.txt"])
def test_all_formats_say_the_same(tmp_path: Path, name: str) -> None:
    assert read_manifest(written(tmp_path / name)) == ROWS


def test_lists_numbers_and_gaps_of_parquet(tmp_path: Path) -> None:
    file = tmp_path / "m.parquet"
    columns = {"path": ["a", None], "author": [["Kim", "Lee"], []], "year": [1999.0, float("nan")]}
    pq.write_table(pa.table(columns), file)
    assert read_manifest(file) == [
        ManifestRow(2, "a", ("Kim", "Lee"), year="1999"),
        ManifestRow(3, ""),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no picture"),
        ("path\n", "lists no picture"),
        ("file,author\na.png,Kim\n", "no column 'path'"),
        ("path,author\na.png,Kim,,\nb.png,Kim,Lee\n", "row 3 has 3 cells"),
        ('path,author\na.png,Kim\n"b.png,Lee\n', "row 3: unexpected end"),
        ('path\n"a"b.png\n', "row 2"),
        ("path\n" + "x" * (manifest.MAX_FIELD_BYTES + 1), "row 2: field larger"),
        ("path\n\udcff\n", "cannot be read"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "m.csv"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=message):
        read_manifest(file)


def test_size_is_checked_before_anything_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no manifest at"):
        read_manifest(tmp_path / "gone.csv")
    small, packed = written(tmp_path / "m.csv"), tmp_path / "m.parquet"
    pq.write_table(pa.table({"path": ["x" * 900] * 100}), packed, compression="zstd")
    monkeypatch.setattr(manifest, "MAX_BYTES", 2000)
    assert len(read_manifest(small)) == 2
    monkeypatch.setattr(manifest, "MAX_BYTES", small.stat().st_size - 1)
    with pytest.raises(InputError, match="has more than"):
        read_manifest(small)


def test_a_parquet_file_that_unpacks_to_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "m.parquet"
    names = [f"{number:06}" for number in range(5000)]
    pq.write_table(pa.table({"path": names}), packed, compression="zstd", use_dictionary=False)
    monkeypatch.setattr(manifest, "MAX_BYTES", packed.stat().st_size)
    with pytest.raises(InputError, match="unpacks to"):
        read_manifest(packed)


def test_damaged_parquet(tmp_path: Path) -> None:
    file = tmp_path / "m.parquet"
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(file)
