"""One reader of manifests: all formats say the same, and what is odd about a row is a note."""

from __future__ import annotations

import datetime
import os
import random
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import manifest, spreadsheets
from schemas.errors import InputError
from schemas.manifest import ManifestRow, read_manifest
from tests.fuzz.manifests import random_manifest

CELLS: list[dict[str, Any]] = [
    {"path": "a.png", "author": "Kim; Lee;kim", "series": "One", "genre": "myth;epic",
     "year": 1999, "note": "left alone"},
    {"path": "b.png", "author": "Jose\u0301  G", "series": None, "genre": None, "year": None,
     "note": None},
]  # fmt: skip
ROWS = [
    ManifestRow(
        2, "a.png", ("Kim", "Lee"), "One", genres=("myth", "epic"), year=1999, file="a.png"
    ),
    ManifestRow(3, "b.png", ("José G",), file="b.png"),
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
    found = read_manifest(written(tmp_path / name))
    assert (found.rows, found.notes.lines(), found.root) == (ROWS, [], tmp_path)


def read(folder: Path, content: str | bytes | pa.Table, name: str = "m.csv") -> manifest.Manifest:
    """What is read of a text, of bytes, or of a table as Parquet."""
    file = folder / name
    if isinstance(content, pa.Table):
        pq.write_table(content, file)
    else:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_manifest(file)


def test_any_encoding_dialect_and_type_gives_the_same_cells(tmp_path: Path) -> None:
    for seed in range(500):
        file, rows = random_manifest(random.Random(seed), tmp_path)
        found = read_manifest(file)
        assert [replace(row, number=0) for row in found.rows] == rows, seed
        file.unlink()


# --- Encodings and dialects.


@pytest.mark.parametrize("mark", [",", "\t", ";", "|"])
@pytest.mark.parametrize(
    "codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp949"]
)
def test_encodings_and_separators(tmp_path: Path, codec: str, mark: str) -> None:
    lines = [["path", "author", "series"], ["p0.png", "김철수", "신의 탑"]]
    text = "\r\n".join(mark.join(line) for line in lines)
    found = read(tmp_path, text.encode(codec))
    assert found.rows == [ManifestRow(2, "p0.png", ("김철수",), "신의 탑", file="p0.png")]
    notes = found.notes.lines()
    assert not notes if codec != "cp949" else "cp949" in notes[0] and "'김철수'" in notes[0]


@pytest.mark.parametrize(("codec", "name"), [("cp932", "ワンピース"), ("cp1252", "José García")])
def test_other_code_pages_where_they_are_sure(tmp_path: Path, codec: str, name: str) -> None:
    found = read(tmp_path, f"path,author\np0.png,{name}\n".encode(codec))
    assert found.rows[0].authors == (name,)
    assert codec in found.notes.lines()[0]


@pytest.mark.parametrize(
    "content",
    [
        "path,author\np0.png,斗破苍穹\n".encode("gbk"),
        "path,author\np0.png,我獨自升級\n".encode("big5"),
        "path,author\np0.png,Пушкин\n".encode("cp1251"),
        b"\xff\xfep\0a\0t",
        bytes(range(256)) * 9,
    ],
)
def test_text_that_nobody_can_be_sure_of_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"cannot be read.*CSV UTF-8"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04" + bytes(50), "workbook.*CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0" + bytes(50), "workbook"),
        (b'{"path": "p0.png"}\n', "JSON"),
        (b"\n [1]", "JSON"),
        (b"<html><table>", "web page"),
        (b"\x1f\x8b123", "compressed"),
        (b"ARROW1", "Arrow"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read(tmp_path, content)


def test_a_few_bytes_that_are_no_text_cost_their_own_cells_only(tmp_path: Path) -> None:
    lines = "path,author\np0.png,김\np1.png,이\n".encode()
    found = read(tmp_path, lines + b"p2.png,Jos\xe9\np3.png,\xff\xfe\xfd\n")
    assert [row.authors for row in found.rows] == [("김",), ("이",), ("José",), ()]
    assert found.notes.lines() == [
        "row 4: author 'José' is read in the code page cp1252",
        "row 5: author holds bytes that are no text: left out",
    ]


def test_a_line_of_unknown_text_among_many_costs_its_own_cells_only(tmp_path: Path) -> None:
    lines = b"".join(b"p%d.png,Kim\n" % number for number in range(20))
    found = read(tmp_path, b"path,author\n" + lines + "x.png,斗破苍穹\n".encode("gbk"))
    assert [row.authors for row in found.rows] == [("Kim",)] * 20 + [()]
    assert found.notes.lines() == ["row 22: author holds bytes that are no text: left out"]


def test_what_excel_writes_before_the_columns(tmp_path: Path) -> None:
    found = read(tmp_path, "sep=;\r\npath;author\r\np0.png;Kim, Lee\r\n")
    assert found.rows == [ManifestRow(3, "p0.png", ("Kim, Lee",), file="p0.png")]


def test_quotes_in_text_separated_by_tabs(tmp_path: Path) -> None:
    text = (
        'path\tauthor\tseries\np0.png\t"Kim"\t"a ""quoted"" title"\np1.png\tLee\t"quoted" title\n'
        'p2.png\t"tis open\tA\np3.png\tsize 5"\tB\np4.png\t"two\nlines"\tC\n'
    )
    found = read(tmp_path, text.encode("utf-16"), "m.txt")
    assert [(row.path, row.authors, row.series) for row in found.rows] == [
        ("p0.png", ("Kim",), 'a "quoted" title'),
        ("p1.png", ("Lee",), '"quoted" title'),
        ("p2.png", ('"tis open',), "A"),
        ("p3.png", ('size 5"',), "B"),
        ("p4.png", ("two lines",), "C"),
    ]
    assert found.notes.lines() == []


def test_quotes_that_make_no_sense_cost_no_other_row(tmp_path: Path) -> None:
    text = 'path,author\np0.png,"Kim\np1.png,"Lee" and Choi\np2.png,"a, ""b"""\n"p3.png,Han\n'
    found = read(tmp_path, text)
    assert [row.authors for row in found.rows] == [
        ('"Kim',), ('"Lee" and Choi',), ('a, "b"',), ("Han",),
    ]  # fmt: skip
    said = "its quotes make no sense: they are part of the text"
    assert found.notes.lines() == [f"row {number}: {said}" for number in (2, 3, 5)]


def test_a_cell_of_several_lines_is_one_cell(tmp_path: Path) -> None:
    found = read(tmp_path, 'path,author,note\r\na,Kim,"x\r\ny, z, 1\r\n"\r\nb,Lee,\r\n')
    assert [(row.number, row.path, row.authors) for row in found.rows] == [
        (2, "a", ("Kim",)), (3, "b", ("Lee",)),
    ]  # fmt: skip


# --- Rows of another width.


def test_rows_with_too_many_cells_keep_their_path(tmp_path: Path) -> None:
    (tmp_path / "p0.png").touch()
    (tmp_path / "q, r.png").touch()
    text = "path,author,series,genre\np0.png,Kim,Sun, moon,action\nq, r.png,Lee,A,drama\np1.png,Lee,B,,\n"
    found = read(tmp_path, text)
    assert found.rows == [
        ManifestRow(2, "p0.png", file="p0.png"),
        ManifestRow(3, "q, r.png", ("Lee",), "A", genres=("drama",), file="q, r.png"),
        ManifestRow(4, "p1.png", ("Lee",), "B", file="p1.png"),
    ]
    (note,) = found.notes.lines()
    assert note.startswith("row 2: 5 cells for 4 columns: its labels are left out. Put quotes")
    right = read(tmp_path, "author,series,path\nKim,Sun, moon,p0.png\nKim,Sun,q, r.png\n")
    assert [(row.path, row.series) for row in right.rows] == [("p0.png", ""), ("q, r.png", "Sun")]


def test_rows_with_too_few_cells_say_what_is_missing(tmp_path: Path) -> None:
    found = read(tmp_path, "path,author,genre,note\na,Kim\n\nb,Lee,x\n , \n")
    assert [(row.number, row.authors) for row in found.rows] == [(2, ("Kim",)), (4, ("Lee",))]
    assert found.notes.lines() == ["row 2: 2 cells for 4 columns: no genre"]


def test_a_list_of_names_alone_has_no_separator(tmp_path: Path) -> None:
    found = read(tmp_path, "path\na, b; c.png\n")
    assert [row.path for row in found.rows] == ["a, b; c.png"]


# --- Values.


@pytest.mark.parametrize("word", ["nan", "NaN", "NaT", "<NA>", "None", "null", "#N/A"])
def test_words_for_empty_cells_are_empty_and_noted(tmp_path: Path, word: str) -> None:
    found = read(
        tmp_path, f"path,author,genre,year,date\na,{word},{word},{word},{word}\n{word},Kim,,,\n"
    )
    assert found.rows == [ManifestRow(2, "a", file="a")]
    assert len(found.notes.lines()) == 5
    assert f"row 3: path {word!r} counts as empty" in found.notes.lines()


def test_a_name_that_only_looks_like_a_word_for_empty(tmp_path: Path) -> None:
    found = read(tmp_path, "path,author\na,Nan\nb,Nan Goldin\n")
    assert [row.authors for row in found.rows] == [("Nan",), ("Nan Goldin",)]


@pytest.mark.parametrize(
    "text", ["2019", "2019.0", '"2,019"', "2019년", "２０１９", " 2019 ", "2019-03-02"]
)
def test_years(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, f"path,year\na,{text}\n")
    assert (found.rows[0].year, found.notes.lines()) == (2019, [])


@pytest.mark.parametrize("text", ["19", "soon", "2019/2020", "0", "43526", "-2019"])
def test_what_is_no_year_is_noted(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, f"path,year\na,{text}\n")
    assert found.rows[0].year is None
    assert found.notes.lines() == [f"row 2: year {text!r} is not a year"]


def test_short_dates_are_read_year_first_when_all_can_be(tmp_path: Path) -> None:
    korean = read(tmp_path, "path,date\na,19.03.02\nb,24.12.01\nc,98.5.1\nd,2020-01-02\n")
    assert [str(row.published) for row in korean.rows] == [
        "2019-03-02", "2024-12-01", "1998-05-01", "2020-01-02",
    ]  # fmt: skip
    assert korean.rows[0].year == 2019
    assert korean.notes.lines()[0] == "row 2: date '19.03.02' is read as 2019-03-02, year first"
    mistyped = read(tmp_path, "path,date\na,19.03.02\nb,19.13.40\n")
    assert [str(row.published) for row in mistyped.rows] == ["2019-03-02", "None"]
    assert (
        "row 3: date '19.13.40' is not certain: write it like 2019-03-02" in mistyped.notes.lines()
    )
    german = read(tmp_path, "path,date\na,02.03.19\nb,31.12.19\n")
    assert [(row.published, row.year) for row in german.rows] == [(None, None)] * 2
    assert german.notes.lines()[0].startswith("row 2: date '02.03.19' is not certain")


def test_numbers_of_spreadsheets_and_dates_that_are_not_understood(tmp_path: Path) -> None:
    found = read(tmp_path, "path,date\na,43526\nb,soon\nc,2019-03\nd,2019\ne,2/3/2019\n")
    assert [row.published for row in found.rows] == [datetime.date(2019, 3, 2)] + [None] * 4
    assert [row.year for row in found.rows] == [2019, None, 2019, 2019, 2019]
    assert sorted(found.notes.lines()) == [
        "row 2: date '43526' is read as 2019-03-02, a spreadsheet's number",
        "row 3: date 'soon' is not understood: write it like 2019-03-02",
        "row 4: date '2019-03': only the year 2019 is certain",
        "row 6: date '2/3/2019': only the year 2019 is certain",
    ]


def test_many_notes_are_a_few_of_each_kind_and_their_number(tmp_path: Path) -> None:
    text = "path,year,date\n" + "soon.png,soon,never\n" * 332 + ",,never\n,,never\n"
    lines = read(tmp_path, text).notes.lines()
    assert len(lines) <= spreadsheets.MAX_NOTES + 3
    assert "and 326 more rows with a year that is not understood (332 in all)" in lines
    assert "row 335: no path" in lines


def test_cells_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreadsheets, "MAX_LINE_CHARS", 6000)
    long = "x" * 5000
    found = read(tmp_path, f"path,author\n{long},Kim\nb,{long}\nc,Lee{long * 2},x\nd,Han\n")
    assert [(row.number, row.path, row.authors) for row in found.rows] == [
        (3, "b", ()), (4, "c", ()), (5, "d", ("Han",)),
    ]  # fmt: skip
    assert "row 2: path has 5,000 characters: left out" in found.notes.lines()


# --- Columns.


def test_names_of_columns(tmp_path: Path) -> None:
    found = read(tmp_path, '\u200b파일, 작가 ,"작품",장르,연도\np0.png,김,탑,액션,2019년\n')
    assert found.rows == [
        ManifestRow(2, "p0.png", ("김",), "탑", genres=("액션",), year=2019, file="p0.png")
    ]
    decomposed = unicodedata.normalize("NFD", "경로,작가\na,김\n")
    assert read(tmp_path, decomposed).rows[0].authors == ("김",)
    english = read(tmp_path, "path,author,작가\na,Kim,김\n")
    assert english.rows[0].authors == ("Kim",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no picture"),
        ("path\n", "lists no picture"),
        ("path,author\n,Kim\n", "lists no picture.*row 2: no path"),
        ("file,author\na.png,Kim\n", "no column 'path'.*It has file, author"),
        ("path,Path,author\na,b,c\n", "two columns 'path'"),
        ("path,작가,작가명\na,b,c\n", "two columns 'author'"),
    ],
)
def test_what_makes_no_sense_as_a_whole(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


# --- Where pictures lie.


def test_spellings_of_paths(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    names = ["p0.png", "sub/a b.png", unicodedata.normalize("NFD", "각.png"), r"odd\name.png"]
    korean = os.fsdecode("김.png".encode("cp949"))
    for name in [*names, korean]:
        (tmp_path / name).touch()
    listed = [
        *(r".\p0.png", r"sub\a b.png", '"p0.png"', "'p0.png'", "sub/a%20b.png", "각.png"),
        *(r"odd\name.png", "김.png", tmp_path.as_uri() + "/p0.png", str(tmp_path / "p0.png")),
    ]
    found = read(tmp_path, pa.table({"path": [*listed, " p0.png ", "gone\\x.png"]}))
    assert [row.path for row in found.rows] == [*listed, "p0.png", "gone\\x.png"]
    assert [found.file_of(row).is_file() for row in found.rows] == [True] * 11 + [False]
    assert found.notes.lines() == []


def test_paths_that_no_file_can_have(tmp_path: Path) -> None:
    found = read(tmp_path, "path\na\0b.png\np0.png\n")
    assert [row.path for row in found.rows] == ["p0.png"]
    assert found.notes.lines() == ["row 2: path 'a\\x00b.png' has a zero byte"]


# --- Parquet.


def test_lists_numbers_and_gaps_of_parquet(tmp_path: Path) -> None:
    columns = {"path": ["a", None], "author": [["Kim", None], []], "year": [1999.0, float("nan")]}
    found = read(tmp_path, pa.table(columns))
    assert found.rows == [ManifestRow(2, "a", ("Kim",), year=1999, file="a")]
    assert found.notes.lines() == ["row 3: no path"]


def test_what_is_empty_in_parquet_is_nothing(tmp_path: Path) -> None:
    empty = pa.array([float("nan"), None])
    columns = dict.fromkeys(("author", "genre", "tags", "series", "year", "date"), empty)
    found = read(tmp_path, pa.table({"path": ["a", "b"], **columns, "url": pa.nulls(2)}))
    assert found.rows == [ManifestRow(2, "a", file="a"), ManifestRow(3, "b", file="b")]
    assert found.notes.lines() == []


def test_text_in_other_types(tmp_path: Path) -> None:
    korean = pa.array(["김철수".encode("cp949")])
    columns = {
        "path": pa.array([b"p0.png"]), "author": korean, "genre": pa.array([[b"x", b"y"]]),
        "series": pa.array(["One"]).dictionary_encode(), "title": pa.array(["T"], pa.large_string()),
        "title_id": pa.array([17.0]), "year": pa.array([2019], pa.float32()),
        "date": pa.array([20190302]),
    }  # fmt: skip
    found = read(tmp_path, pa.table(columns))
    assert found.rows == [
        ManifestRow(
            *(2, "p0.png", ("김철수",), "One", "T", "17", ("x", "y")), year=2019,
            published=datetime.date(2019, 3, 2), file="p0.png",
        )
    ]  # fmt: skip
    assert found.notes.lines() == ["row 2: author '김철수' is read in the code page cp949"]


def test_zeros_that_fill_text_of_one_width_are_none_of_it(tmp_path: Path) -> None:
    columns = {
        "path": pa.array([b"p0.png", b"a.png\0", None], pa.binary(6)),
        "author": pa.array([b"Kim\0", b"Choi", None], pa.binary(4)),
    }
    found = read(tmp_path, pa.table(columns))
    assert [(row.file, row.authors) for row in found.rows] == [
        ("p0.png", ("Kim",)), ("a.png", ("Choi",)),
    ]  # fmt: skip
    assert not found.notes.lines()


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("author", pa.array([True]), "author holds a value of the type bool: left out"),
        ("author", pa.array([{"name": "Kim"}]), "author holds a value of the type dict: left out"),
        ("author", pa.array([b"\xff\xfe\xfd"]), "author holds bytes that are no text: left out"),
        ("series", pa.array([["A", "B"]]), "series lists 2 values: the first counts"),
        ("date", pa.array([2**40], pa.timestamp("s")), "date holds a day outside the calendar: left out"),
        ("date", pa.array([-(2**31)], pa.date32()), "date holds a day outside the calendar: left out"),
        ("date", pa.array([0], pa.timestamp("us", "Mars/Base")),
         "date holds a time in the unknown zone Mars/Base: left out"),
        ("date", pa.array([1], pa.duration("s")), "date holds a value of the type timedelta: left out"),
    ],
)  # fmt: skip
def test_what_is_no_text_names_its_column(
    tmp_path: Path, column: str, value: pa.Array, said: str
) -> None:
    found = read(tmp_path, pa.table({"path": ["a"], column: value}))
    assert found.rows[0].path == "a"
    assert found.notes.lines() == [f"row 2: {said}"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_day_of_a_time_is_that_of_its_zone(tmp_path: Path, unit: str) -> None:
    times = pa.array([datetime.datetime(2019, 3, 1, 16), datetime.datetime(1969, 12, 31, 23)])
    zoned = times.cast(pa.timestamp(unit)).cast(pa.timestamp(unit, "Asia/Seoul"))
    for column, days in ((times.cast(pa.timestamp(unit)), (1, 31)), (zoned, (2, 1))):
        found = read(tmp_path, pa.table({"path": ["a", "b"], "date": column}))
        assert tuple(row.published.day for row in found.rows if row.published) == days


def test_columns_that_are_not_used_are_not_read(tmp_path: Path) -> None:
    far = pa.array([253_402_300_800_000_000], pa.timestamp("us"))
    table = pa.table({"path": ["a"], "far": far, "made": far.cast(pa.timestamp("us", "UTC"))})
    assert read(tmp_path, table).notes.lines() == []


def test_a_parquet_file_by_another_name(tmp_path: Path) -> None:
    assert read(tmp_path, pa.table({"path": ["a"]}), "m.csv").rows[0].path == "a"


def test_size_is_checked_before_anything_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no manifest at"):
        read_manifest(tmp_path / "gone.csv")
    small, packed = written(tmp_path / "m.csv"), tmp_path / "m.parquet"
    pq.write_table(pa.table({"path": ["x" * 900] * 100}), packed, compression="zstd")
    monkeypatch.setattr(spreadsheets, "MAX_BYTES", 2000)
    assert len(read_manifest(small).rows) == 2
    monkeypatch.setattr(spreadsheets, "MAX_BYTES", small.stat().st_size - 1)
    with pytest.raises(InputError, match="has more than"):
        read_manifest(small)
    monkeypatch.undo()
    monkeypatch.setattr(spreadsheets, "MAX_ROWS", 2)
    with pytest.raises(InputError, match="more than 2 rows"):
        read_manifest(small)


def test_a_parquet_file_that_unpacks_to_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "m.parquet"
    names = [f"{number:06}" for number in range(5000)]
    pq.write_table(pa.table({"path": names}), packed, compression="zstd", use_dictionary=False)
    monkeypatch.setattr(spreadsheets, "MAX_BYTES", packed.stat().st_size)
    with pytest.raises(InputError, match="unpacks to"):
        read_manifest(packed)


def test_damaged_parquet(tmp_path: Path) -> None:
    file = tmp_path / "m.parquet"
    for content in (b"PAR1 and no more", b"path\na.png\n", b""):
        file.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            read_manifest(file)
