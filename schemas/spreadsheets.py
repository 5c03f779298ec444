"""CSV, TSV and Parquet files as rows of cells, whoever wrote them.

Text is UTF-8, UTF-16 or, where that is sure, an older code page; what separates its cells is seen
in the first line. A quote that makes no sense is part of its text. What Python has no value for is
an `Odd`.
"""

from __future__ import annotations

import csv
import datetime
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, TextIO

from schemas.codepages import from_code_page
from schemas.errors import InputError

MAX_BYTES = 1 << 29
MAX_ROWS = 5_000_000
MAX_LINE_CHARS = 1 << 20
MAX_CELL_LINES = 100
BATCH_ROWS = 10_000
MAX_NOTES = 20
SEPARATORS = (",", "\t", ";", "|")
EPOCH = datetime.date(1970, 1, 1).toordinal()
ODD_QUOTE = "with quotes that make no sense"
SAVE_AS = "Save it as `CSV UTF-8` and run the command again."
FOREIGN = (
    (b"PK\x03\x04", "a workbook or an archive", "In a spreadsheet: save it as `CSV UTF-8`."),
    (b"\xd0\xcf\x11\xe0", "a workbook", "In a spreadsheet: save it as `CSV UTF-8`."),
    (b"\x1f\x8b", "compressed", "Unpack it first."),
    (b"ARROW1", "an Arrow file", "Write it as Parquet or CSV."),
    (b"SQLite format 3", "a database", "Export the table as CSV."),
    (b"{", "JSON", "Write it as CSV or Parquet, with a column `path`."),
    (b"[", "JSON", "Write it as CSV or Parquet, with a column `path`."),
    (b"<", "a web page or XML", "Export the table as CSV."),
)
"""How files begin that are no manifests, what they are, and what to do."""
MARKS = (
    *((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32")),
    *((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig")),
)
"""How text begins that says what it is."""
NO_TEXT = "it is no text, or in a code page that is not sure"


# --- What is odd about rows.


class Notes:
    """What is odd about a manifest: the first few rows of each kind, and how many there are."""

    def __init__(self) -> None:
        self._whole: list[str] = []
        self._rows: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Something about the whole file."""
        self._whole.append(text)

    def add(self, number: int, kind: str, text: str) -> None:
        """Something about a row. `kind` ends a sentence: "3 more rows" `kind`."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        shown = self._rows.setdefault(kind, [])
        if len(shown) < MAX_NOTES:
            shown.append(f"row {number}: {text}")

    def count(self, *kinds: str) -> int:
        """How many notes there are of these kinds, or in all."""
        return sum(self._counts.get(kind, 0) for kind in kinds or self._counts)

    def of(self, kind: str) -> list[str]:
        """The first notes of a kind."""
        return self._rows.get(kind, [])

    def lines(self, *kinds: str) -> list[str]:
        """At most about MAX_NOTES lines, of these kinds or all: each has its share of them and its
        number."""
        lines, kinds = list(self._whole), tuple(kind for kind in kinds or self._rows)
        share = MAX_NOTES
        if self.count(*kinds) > MAX_NOTES:
            share = max(1, MAX_NOTES // len(kinds))
        for kind in kinds:
            lines += self.of(kind)[:share]
            if (more := self._counts.get(kind, 0) - share) > 0:
                lines.append(f"and {more:,} more rows {kind} ({self._counts[kind]:,} in all)")
        return lines


class Odd(str):
    """What stands in a cell that cannot be read, in words."""


ColumnsOf = Callable[[Sequence[str]], list[str]]


def read_cells(
    file: Path, columns_of: ColumnsOf, notes: Notes
) -> Iterator[tuple[int, list[str], list[Any]]]:
    """Each row's number, as a spreadsheet counts (the columns' names are row 1), the columns, and
    its cells: of Parquet only the named columns, of text as many cells as there are.

    `columns_of` says for each column of the file what it is, "" for those that are not used; it
    raises InputError when they make no sense.

    Errors:  InputError when the file as a whole cannot be read
    """
    try:
        if not file.is_file():
            raise InputError(f"there is no manifest at {file}")
        if file.stat().st_size > MAX_BYTES:
            raise InputError(
                f"the manifest {file} has more than {MAX_BYTES >> 20:,} MB", "Split it."
            )
        with file.open("rb") as handle:
            head = handle.read(4096)
        is_parquet = head.startswith(b"PAR1") or file.suffix.lower() == ".parquet"
        rows = _parquet(file, columns_of) if is_parquet else _text(file, head, columns_of, notes)
        for number, columns, cells in rows:
            if number > MAX_ROWS:
                raise InputError(
                    f"the manifest {file} has more than {MAX_ROWS:,} rows", "Split it."
                )
            yield number, columns, cells
    except (OSError, ValueError, NotImplementedError, ArithmeticError, LookupError) as error:
        # Those of the operating system, and all that pyarrow raises.
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise _unreadable(file, said[0]) from error


def _unreadable(file: Path, why: str, hint: str = "") -> InputError:
    return InputError(f"the manifest {file} cannot be read ({why})", hint)


# --- CSV and TSV.


def _text(
    file: Path, head: bytes, columns_of: ColumnsOf, notes: Notes
) -> Iterator[tuple[int, list[str], list[Any]]]:
    codec = _codec(file, head, notes)
    with file.open(encoding=codec, errors="surrogateescape", newline="") as handle:
        lines = _lines(handle)
        start, first = next(((n, line) for n, line in enumerate(lines, 2) if line.strip()), (2, ""))
        separator = _separator(file, first, columns_of)
        if found := re.fullmatch(r'"?sep=(.)"?', first.strip()):  # Excel's own word for it
            separator, start, first = found[1], start + 1, next(lines, "")
        records = _records(chain([first], lines), separator)
        columns = columns_of(next(records, ([], True))[0])
        for number, (cells, is_sound) in enumerate(records, start):
            if not is_sound and separator != "\t":  # tab-separated text may know no quotes
                notes.add(number, ODD_QUOTE, "its quotes make no sense: they are part of the text")
            yield number, columns, cells


def _lines(handle: TextIO) -> Iterator[str]:
    """Lines as they are, the rest of one that is too long left out."""
    while line := handle.readline(MAX_LINE_CHARS):
        rest = line
        while len(rest) == MAX_LINE_CHARS and rest[-1] not in "\r\n":
            rest = handle.readline(MAX_LINE_CHARS)
        yield line


def _codec(file: Path, head: bytes, notes: Notes) -> str:
    """The codec of a text file: by its mark, by its zeros, or the first that all of it fits."""
    start = head.lstrip()
    for mark, what, hint in FOREIGN:
        if start.startswith(mark):
            raise InputError(f"the manifest {file} is {what}", hint)
    marked = [codec for mark, codec in MARKS if head.startswith(mark)]
    big, little = head[::2].count(0), head[1::2].count(0)
    if not marked and max(big, little) > max(4 * min(big, little), len(head) / 10):
        marked = ["utf-16-le" if little > big else "utf-16-be"]
    codec = marked[0] if marked else "utf-8"
    if _fits(file, codec):
        return codec
    if codec.startswith(("utf-16", "utf-32")):
        raise _unreadable(file, NO_TEXT, SAVE_AS)
    odd, lines = _odd_lines(file)
    if 2 * sum(map(_is_utf8, odd)) >= len(odd):
        return codec  # the rows of the others say so
    found = from_code_page(b"".join(odd))
    if found is None and 10 * len(odd) < lines:
        return codec
    if found is None or not _fits(file, found[1]):
        raise _unreadable(file, NO_TEXT, SAVE_AS)
    text, codec = found
    word = re.search(r"[^\s,;|\"]*[^\x00-\x7f][^\s,;|\"]*", text)
    notes.say(
        f"the manifest is not UTF-8: it is read in the code page {codec}, with texts such as"
        f" {word[0][:40] if word else ''!r}. If that is wrong, save it as `CSV UTF-8`"
    )
    return codec


def _odd_lines(file: Path) -> tuple[list[bytes], int]:
    """Lines that are not plain ASCII, up to 1 MB of them, and of how many lines."""
    odd: list[bytes] = []
    lines = size = 0
    with file.open("rb") as handle:
        while size < 1 << 20 and (line := handle.readline(MAX_LINE_CHARS)):
            lines += 1
            if not line.isascii():
                size += len(line)
                odd.append(line)
    return odd, lines


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _fits(file: Path, codec: str) -> bool:
    """Whether the whole file is text in this codec."""
    try:
        with file.open(encoding=codec, newline="") as handle:
            while handle.read(1 << 20):
                pass
    except UnicodeError:
        return False
    return True


def _separator(file: Path, header: str, columns_of: ColumnsOf) -> str:
    """What separates the cells: what makes the most columns of the first line that are used."""

    def used(separator: str) -> tuple[int, int]:
        names = next(csv.reader([header[:9999]], delimiter=separator), [])
        try:
            return len(list(filter(None, columns_of(names)))), len(names)
        except InputError:
            return 0, len(names)

    usual = "\t" if file.suffix.lower() in (".tsv", ".tab") else ","
    found = max((usual, *SEPARATORS), key=used)
    # A list of names alone is separated by nothing: a comma is part of a name.
    return found if used(found)[1] > 1 else "\x1f"


def _records(lines: Iterable[str], separator: str) -> Iterator[tuple[list[str], bool]]:
    """The cells of each row, and whether its quotes make sense: else they are part of the text."""
    lines, ahead = iter(lines), deque[str]()

    def next_line() -> str:
        return ahead.popleft() if ahead else next(lines, "")

    while line := next_line():
        record = line.rstrip("\r\n")
        if '"' not in record:
            yield record.split(separator), True
            continue
        taken = [line]
        try:
            quotes = line.count('"')
            while quotes % 2:  # a cell of several lines
                taken.append(next_line())
                quotes += taken[-1].count('"')
                # Who separates by tabs may know no quotes: the next rows are none of its text.
                is_row = separator == "\t" and separator in taken[-1].partition('"')[0]
                if not taken[-1] or is_row or len(taken) > MAX_CELL_LINES:
                    raise csv.Error
            reader = csv.reader(taken, delimiter=separator, strict=True, skipinitialspace=True)
            yield next(reader), True
        except csv.Error:
            ahead.extendleft(filter(None, reversed(taken[1:])))
            yield record.split(separator), False


# --- Parquet.


def _parquet(file: Path, columns_of: ColumnsOf) -> Iterator[tuple[int, list[str], list[Any]]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        facts = table.metadata
        size = sum(facts.row_group(n).total_byte_size for n in range(facts.num_row_groups))
        if size > MAX_BYTES:
            raise _unreadable(file, f"it unpacks to {size >> 20:,} MB")
        names = table.schema_arrow.names
        used = {
            name: column for name, column in zip(names, columns_of(names), strict=True) if column
        }
        numbers = count(2)
        for batch in table.iter_batches(columns=list(used), batch_size=BATCH_ROWS):
            columns = [used[name] for name in batch.schema.names]
            for cells in zip(*map(_cells, batch.columns), strict=True):
                yield next(numbers), columns, list(cells)


def _cells(array: Any) -> list[Any]:
    """The values of a column as Python has them; a day for each time, as its own zone counts.

    What Python has no value for, such as the year 10000, is an `Odd`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _cells(array.storage)
    if pa.types.is_dictionary(kind):
        return _cells(array.dictionary_decode())
    if pa.types.is_timestamp(kind):
        if kind.tz:
            try:
                array = pc.local_timestamp(array)
            except ValueError:
                return [Odd(f"a time in the unknown zone {kind.tz}")] * len(array)
        day = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit] * 86400
        return [_day(value, day) for value in array.cast(pa.int64()).to_pylist()]
    if pa.types.is_date64(kind):
        return [_day(value, 86_400_000) for value in array.cast(pa.int64()).to_pylist()]
    if pa.types.is_date32(kind):
        return [_day(value, 1) for value in array.cast(pa.int32()).to_pylist()]
    if pa.types.is_fixed_size_binary(kind):  # zeros fill what is shorter
        return [value and value.rstrip(b"\0") for value in array.to_pylist()]
    try:
        values: list[Any] = array.to_pylist()
    except (ValueError, ArithmeticError, NotImplementedError, ImportError):
        values = [_cell(scalar) for scalar in array]
    return values


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes() if hasattr(scalar, "as_buffer") else Odd("no text")
    except (ValueError, ArithmeticError, NotImplementedError, ImportError):
        return Odd(f"a value of the type {scalar.type}")


def _day(value: int | None, day: int) -> datetime.date | Odd | None:
    """The day of a time since 1970, `day` being its length."""
    if value is None:
        return None
    try:
        return datetime.date.fromordinal(EPOCH + value // day)
    except (ValueError, OverflowError):
        return Odd("a day outside the calendar")
