"""Outputs replace earlier outputs, and cost no other file."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path

import pytest

from schemas.errors import InputError, StorageError, ToonsearchError, UsageError
from schemas.storage.outputs import OUTPUTS, check_target, output_file, stream_of, write_text
from search.output.data import write_result
from tests.drawings import drawing

ROWS = [
    ["a", 1, None, [1, 2], {"x": "y"}],
    ['q"u', 2.5, "two\nlines", [], {}],
    ["a;b, c", -1, "=1", None, {}],
    ["글", 0, " ", ["|"], {}],
]
COLUMNS, TYPES = ("name", "n", "more text", "list", "struct"), ("VARCHAR",) * 5


def own(kind: str, rows: int = len(ROWS)) -> bytes:
    """An output of toonsearch's own."""
    if kind == "html":
        return b"<!doctype html>\n<title>x</title>"
    if kind == "parquet":
        return b"PAR1 and so on"
    if kind == "metrics":
        return b"# HELP toonsearch_nightly_seconds How long it took.\n"
    out = io.StringIO()
    write_result(out, COLUMNS, TYPES, (ROWS * (1 + rows // len(ROWS)))[:rows], kind)
    return out.getvalue().encode()


def picture(form: str) -> bytes:
    data = io.BytesIO()
    drawing(0, 1).convert("RGB").save(data, form)
    return data.getvalue()


FOREIGN = {
    "picture.png": picture("PNG"),
    "picture.jpg": picture("JPEG"),
    "song.mp3": b"ID3\x04\x00" + bytes(range(256)),
    "excel.csv": "path,author\r\na.png,김\r\n".encode(),
    "bom.csv": "\ufeffpath,author\na.png,김\n".encode(),
    "korean.csv": "path,author\na.png,김\n".encode("cp949"),
    "utf16.txt": "path\tauthor\n".encode("utf-16"),
    "settings.toml": b'[query]\nk = 5\nby = "title"\n',
    "notes.md": b"# Notes\n\nOne, two, three.\n",
    "notes.txt": b"Dear all,\n\nthis is a letter.\n",
    "script.py": b"import os\n\nprint(os.getcwd(), 1)\n",
    "rows.tsv": b"path\tauthor\na.png\tKim\n",
    "text.rtf": rb"{\rtf1\ansi Hello}",
    "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>\n',
}


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("rows", [0, 1, 4, 4000])
def test_an_earlier_output_is_replaced(tmp_path: Path, kind: str, rows: int) -> None:
    path = tmp_path / "out"
    path.write_bytes(own(kind, rows))
    check_target(path, kind)
    check_target(tmp_path / "new", kind)
    path.write_bytes(b"")  # as mktemp leaves it
    check_target(path, kind)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_file_of_another_kind_stays(tmp_path: Path, kind: str) -> None:
    others = {**FOREIGN, **{f"own.{other}": own(other) for other in OUTPUTS if other != kind}}
    if kind == "json":  # an object may be a line
        del others["own.nl"]
    if kind == "table":  # a column of texts may look like anything
        del others["own.csv"]
    path = tmp_path / "out"  # its ending says nothing
    for data in others.values():
        path.write_bytes(data)
        with pytest.raises(UsageError, match="exists and is not"):
            check_target(path, kind)
    path = tmp_path / "script.py"  # two lines of one cell
    path.write_text("import os\nprint(1)\n")
    with pytest.raises(UsageError, match="exists and is not"):
        check_target(path, kind)


def test_an_input_stays_by_whichever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = Path("m.csv")
    here.write_text("path\na.png\n")
    Path("folder").mkdir()
    Path("linked").symlink_to("folder")
    Path("link.csv").symlink_to("m.csv")
    os.link("m.csv", "hard.csv")
    check_target(here, "csv")
    for name in (
        "m.csv",
        "./m.csv",
        "folder/../m.csv",
        "link.csv",
        "hard.csv",
        str(here.resolve()),
    ):
        with pytest.raises(UsageError, match="is an input"):
            check_target(Path(name), "csv", ["gone", "bad\0name", here])
    for name in ("folder/new.csv", "linked/new.csv"):
        with pytest.raises(UsageError, match="lies in"):
            check_target(Path(name), "csv", [Path("folder")])


def test_what_standard_input_reads_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("path\na.png\n")
    before = os.dup(0)
    with path.open() as file:
        os.dup2(file.fileno(), 0)
        try:
            with pytest.raises(UsageError, match="standard input"):
                check_target(path, "csv")
        finally:
            os.dup2(before, 0)
            os.close(before)


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    nowhere = tmp_path / "nowhere"
    nowhere.symlink_to(tmp_path / "no" / "x.html")
    for path, why in (
        (tmp_path, "is a directory"),
        (Path(), "is a directory"),
        (tmp_path / "no" / "x.html", "does not exist"),
        (nowhere, "does not exist"),
        (loop, "cannot be written"),
        (tmp_path / ("x" * 300), "cannot be written"),
        (tmp_path / "bad\0name", "cannot be written"),
    ):
        with pytest.raises(InputError, match=why):
            check_target(path, "html")
    with pytest.raises(StorageError, match="cannot be written"):
        write_text(tmp_path / "no" / "x.html", "x")


def test_a_link_is_followed_and_permissions_stay(tmp_path: Path) -> None:
    file, link, dangling = tmp_path / "a.html", tmp_path / "b.html", tmp_path / "c.html"
    file.write_text("")
    file.chmod(0o604)
    link.symlink_to(file)
    dangling.symlink_to(tmp_path / "new.html")
    for path in (link, dangling):
        check_target(path, "html")
        assert write_text(path, "<!doctype html>글") == 18
        assert path.is_symlink()
    assert file.read_text("utf-8") == "<!doctype html>글"
    assert file.stat().st_mode & 0o777 == 0o604
    assert (tmp_path / "new.html").exists()


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), output_file(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with output_file(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_pipes_and_devices_are_written_and_stay(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_target(pipe, "html")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_text(pipe, "text")
    reader.join(10)
    assert read == [b"text"]
    assert pipe.is_fifo()
    device = Path(os.devnull)
    check_target(device, "html", [device])
    write_text(device, "text")
    assert device.is_char_device()
    for name in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        check_target(Path(name), "html")
        sys.stdout.write("before ")
        write_text(Path(name), f"{name}\n")
    assert capfd.readouterr().out == (
        "before -\nbefore /dev/stdout\nbefore /dev/fd/1\nbefore /proc/self/fd/1\n"
    )
    assert [stream_of(Path(name)) for name in ("/dev/stderr", "a", "/dev/shm/a")] == [2, None, None]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_protected_file_or_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.html"
    file.write_text("<!doctype html>")
    file.chmod(0o444)
    with pytest.raises(ToonsearchError, match="may not be written"):
        check_target(file, "html")
    file.chmod(0o644)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(ToonsearchError, match="may not be written"):
            check_target(tmp_path / "new.html", "html")
        check_target(file, "html")
        write_text(file, "<!doctype html>new")
    finally:
        tmp_path.chmod(0o755)
    assert file.read_text().endswith("new")
