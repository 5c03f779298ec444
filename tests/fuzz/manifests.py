"""Manifests as all kinds of programs write them, and the rows that must come out."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import random
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import InputError
from schemas.manifest import ManifestRow, read_manifest
from schemas.names import clean_name, distinct_names
from schemas.spreadsheets import MAX_NOTES

PLAIN = ["Kim", "Lee Min", "Sun", "O'Neil", "A & B", "No. 5", 'size 5"', "x, y", "a|b", "tab\there"]
WORDS = {
    "cp949": [
        "신의 탑",
        "김철수",
        "나 혼자만 레벨업",
        "외모지상주의",
        "싸움 독학",
        "「회색 도시」",
    ],
    "cp932": ["ワンピース", "ドラゴンボール", "鬼滅の刃", "よつばと", "名探偵コナン"],
    "cp1252": ["José García", "Frédéric", "Müller", "Straße", "Señor"],
    "utf-8": ["신의 탑", "進撃の巨人", "斗破苍穹", "Война", "🦊 fox", "ångström", "e\u0301tude"],
}
UNICODE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
KOREAN = {
    "path": "파일", "author": "작가", "series": "작품", "title": "제목", "genre": "장르",
    "tags": "태그", "year": "연도", "date": "날짜", "kind": "종류", "url": "링크",
}  # fmt: skip
COLUMNS = ["author", "series", "title", "title_id", "genre", "tags", "year", "date", "kind", "url"]
FIELDS = {"author": "authors", "genre": "genres", "date": "published"}
YEARS: list[Callable[[int], str]] = [
    str, "{}.0".format, "{:,}".format, "{}년".format, " {} ".format, "{}-05-17".format,
]  # fmt: skip
DATES = [
    "%Y-%m-%d", "%Y.%m.%d", "%Y.%m.%d.", "%Y. %m. %d.", "%Y/%m/%d", "%Y%m%d", "%Y년 %m월 %d일",
    "%Y-%m-%dT23:59:00+09:00", "%Y-%m-%d 00:00:00", "%B %d, %Y",
]  # fmt: skip

Cells = list[dict[str, Any]]
"""Rows of values by column: texts, lists of texts, a number for a year, a day; None is empty."""


def make(rng: np.random.Generator, folder: Path) -> None:
    """Write a sound manifest with its rows, and one in which something is broken."""
    chance = random.Random(int(rng.integers(2**62)))
    for name in ("sound", "broken"):
        (folder / name).mkdir()
    _, rows = random_manifest(chance, folder / "sound")
    (folder / "rows.json").write_text(_as_json(rows), "utf-8")
    file, _ = random_manifest(chance, folder / "broken")
    file.write_bytes(_broken(chance, file.read_bytes()))


def check(folder: Path) -> None:
    """The sound one says the same; of the other anything may come but surprises."""
    (file,) = (folder / "sound").iterdir()
    rows = [replace(row, number=0) for row in read_manifest(file).rows]
    assert _as_json(rows) == (folder / "rows.json").read_text("utf-8")
    (file,) = (folder / "broken").iterdir()
    try:
        found = read_manifest(file)
    except InputError as error:
        assert str(error)
        return
    for row in found.rows:
        assert row.path
        for text in (row.path, row.series, row.title, *row.authors, *row.genres, *row.tags):
            text.encode()  # a catalog holds text
    assert len(found.notes.lines()) < 2 * MAX_NOTES


def _as_json(rows: list[ManifestRow]) -> str:
    return json.dumps([asdict(row) for row in rows], default=str)


def _broken(chance: random.Random, data: bytes) -> bytes:
    """Bytes changed, cut, doubled or put in: quotes, separators, zeros, other encodings."""
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(data) + 1)
        piece = chance.choice(PIECES)
        length = chance.choice((0, 0, 1, 2, len(piece)))
        match chance.randrange(4):
            case 0:
                data = data[:place]
            case 1:
                data = data[:place] + data[place // 2 :]
            case _:
                data = data[:place] + piece + data[place + length :]
    return data


PIECES = (
    *(b'"', b",", b";", b"\t", b"\n", b"\r", b"\0", b"\\", b'""', b"\xff\xfe", b"\xef\xbb\xbf"),
    *("김".encode("cp949"), "김".encode(), "ベ".encode("cp932"), b"\xe9", b"\xed\xa0\x80", b"PAR1"),
    *(b"nan", b"1e999", b"-1", b"99999999999999999999", b"2019.", b"x" * 9000, b"," * 3000),
    *(
        b"\npath,author\n",
        b"path",
        b"sep=|\n",
        b"../../../etc/passwd",
        b"C:\\x\\y.png",
        b"\x1b[31m",
    ),
)


def random_manifest(rng: random.Random, folder: Path) -> tuple[Path, list[ManifestRow]]:
    """Write a manifest into a folder; its file, and its rows with 0 for their numbers."""
    is_parquet = rng.random() < 0.3
    codec = "utf-8" if is_parquet else rng.choice([*UNICODE, *UNICODE, "cp949", "cp932", "cp1252"])
    words = WORDS[codec if codec in WORDS else "utf-8"]
    columns = rng.sample(COLUMNS, rng.randrange(len(COLUMNS) + 1))
    rows = [_row(rng, number, columns, words) for number in range(rng.randrange(1, 12))]
    columns.insert(rng.randrange(len(columns) + 1), "path")
    if is_parquet:
        file = folder / rng.choice(["m.parquet", "m.csv", "m"])
        _write_parquet(rng, file, columns, rows)
    else:
        file = folder / rng.choice(["m.csv", "m.tsv", "m.txt", "m"])
        _write_text(rng, file, codec, columns, rows)
    return file, [_expected(row) for row in rows]


def _row(rng: random.Random, number: int, columns: list[str], words: list[str]) -> dict[str, Any]:
    def word() -> str:
        return rng.choice(words if rng.random() < 0.7 else PLAIN)

    def value(column: str) -> Any:
        if column in ("author", "genre", "tags"):
            return [word() for _ in range(rng.randrange(1, 4))]
        if column in ("year", "date"):
            day = datetime.date(1900, 1, 1) + datetime.timedelta(rng.randrange(45000))
            return day.year if column == "year" else day
        return f"{word()} {number}"

    row = {column: value(column) if rng.random() < 0.8 else None for column in columns}
    return {"path": f"{rng.choice(['', 'x/', '../'])}{number} {word()}.png", **row}


def _expected(row: dict[str, Any]) -> ManifestRow:
    found: dict[str, Any] = {"number": 0, "path": row["path"].strip(), "file": row["path"].strip()}
    for column, value in row.items():
        if isinstance(value, list):
            found[FIELDS.get(column, column)] = distinct_names(value)
        elif isinstance(value, str) and column != "path":
            is_name = column in ("series", "title", "title_id")
            found[column] = clean_name(value) if is_name else value
        elif value is not None and column != "path":
            found[FIELDS.get(column, column)] = value
    if found.get("year") is None and found.get("published"):
        found["year"] = found["published"].year
    return ManifestRow(**found)


# --- Text.


def _write_text(
    rng: random.Random, file: Path, codec: str, columns: list[str], rows: Cells
) -> None:
    separator = rng.choice([",", "\t", ";", "|"])
    year_form, date_form = rng.choice(YEARS), rng.choice(DATES)
    has_korean = codec == "cp949" or codec in UNICODE

    def header(column: str) -> str:
        name = KOREAN.get(column, column) if has_korean and rng.random() < 0.3 else column
        return rng.choice([str, str.upper, str.title, " {} ".format])(name)

    def text(column: str, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, list):
            return rng.choice(["; ", ";", " ;"]).join(value)
        if isinstance(value, datetime.date):
            return value.strftime(date_form)
        return year_form(value) if column == "year" else str(value)

    unused = rng.random() < 0.3
    lines = [[header(column) for column in columns] + ["note"] * unused]
    note = rng.choice(["left alone", "two\nlines", "", '"quoted" at first', "a, b; c"])
    lines += [[text(c, row.get(c)) for c in columns] + [note] * unused for row in rows]
    if not has_korean:
        lines = [[cell.replace("년", "") for cell in line] for line in lines]
        lines = [[cell.replace("월", "").replace("일", "") for cell in line] for line in lines]
    if rng.random() < 0.3:
        lines.insert(rng.randrange(1, len(lines) + 1), [""] * len(lines[0]))
    out = io.StringIO(newline="")
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    newline = rng.choice(["\n", "\r\n", "\r"])
    if newline == "\r":  # the writer does not think of the other line ends then
        quoting = csv.QUOTE_ALL
    csv.writer(out, delimiter=separator, quoting=quoting, lineterminator=newline).writerows(lines)
    written = out.getvalue()
    if rng.random() < 0.2:
        written = written.rstrip("\r\n")
    if codec in ("cp949", "cp932", "cp1252"):
        written = unicodedata.normalize("NFC", written)
    file.write_bytes(written.encode(codec))


# --- Parquet.


def _write_parquet(rng: random.Random, file: Path, columns: list[str], rows: Cells) -> None:
    arrays = {column: _array(rng, column, [row.get(column) for row in rows]) for column in columns}
    if rng.random() < 0.3:
        far = pa.array([253_402_300_800_000_000] * len(rows), pa.timestamp("us"))  # the year 10000
        arrays["note"] = rng.choice([far, pa.array([{"a": 1}] * len(rows))])
    names = [rng.choice([str, str.upper])(name) for name in arrays]
    pq.write_table(pa.table(list(arrays.values()), names=names), file)


def _array(rng: random.Random, column: str, values: list[Any]) -> pa.Array:
    if column in ("author", "genre", "tags"):
        if rng.random() < 0.5:
            return pa.array(values, rng.choice([pa.list_, pa.large_list])(pa.string()))
        values = [None if value is None else "; ".join(value) for value in values]
    elif column == "year":
        kind = rng.choice(
            [pa.int16(), pa.float64(), pa.float32(), pa.decimal128(8, 2), pa.string()]
        )
        if pa.types.is_decimal(kind):
            values = [None if value is None else decimal.Decimal(value) for value in values]
        if pa.types.is_string(kind):
            return pa.array([None if value is None else f"{value}.0" for value in values])
        if kind == pa.float64():
            values = [float("nan") if value is None else float(value) for value in values]
        return pa.array(values, kind)
    elif column == "date":
        kinds = [
            pa.date32(),
            pa.date64(),
            *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
        ]
        kind = rng.choice([*kinds, pa.string()])
        if pa.types.is_string(kind):
            return pa.array([None if value is None else value.isoformat() for value in values])
        return pa.array(values, pa.date32()).cast(kind)
    texts = pa.array(values, pa.string())
    kind = rng.choice([pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), None])
    return texts.dictionary_encode() if kind is None else texts.cast(kind)
