"""Small trees like Debian's: read safely, cleaned, split and counted to the last picture."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from html import escape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crawler.demo import debian, openclipart
from crawler.demo.debian import fetch
from crawler.demo.openclipart import (
    COLUMNS,
    FILES,
    at_most,
    hold_out,
    list_drawings,
    prepare,
    read_drawing,
    showcase,
)
from crawler.demo.svg import MAX_BYTES, read_metadata, shows_other_file
from schemas.errors import InputError, LockedError, NetworkError

DATA = Path(__file__).parent / "data"
REPO = Path(__file__).parents[3]


def quiet(_done: int, _total: int, _what: str = "") -> None:
    """Progress that nobody watches."""


def put(root: Path, stem: str, author: str, *, seed: int = 0, date: str = "") -> Path:
    """One drawing: an SVG with its metadata and a PNG of random patches; returns the PNG."""
    svg, png = root / "svg" / f"{stem}.svg", root / "png" / f"{stem}.png"
    svg.parent.mkdir(parents=True, exist_ok=True)
    png.parent.mkdir(parents=True, exist_ok=True)
    text = (DATA / "sound.svg").read_text()
    text = text.replace("Ada\n            Brush", escape(author)).replace("May 3, 2005", date)
    svg.write_text(text)
    patches = np.random.default_rng([seed, *stem.encode()]).integers(0, 256, (8, 8, 3))
    Image.fromarray(patches.astype(np.uint8)).resize((96, 96), 0).save(png)
    return png


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three artists, one of them medium-sized, and one of everything that is dropped."""
    root = tmp_path / "clip"
    for number in range(6):
        put(root, f"animals/birds/gull{number}", "Ada Brush", date="2005/05/30")
        put(root, f"food/fruit/pear{number}", "Brush, Ada")
    put(root, "people/cook", "ada brush (ada@example.org)")
    for number in range(9):
        put(root, f"buildings/homes/home{number}", "Bo Inkpen")
    put(root, "tools/odd", "Cy Lone", date="08.02.2005")
    put(root, "animals/nobody", "unknown")
    put(root, "signs_and_symbols/flags/flag", "Bo Inkpen")
    put(root, "people/smilies/smile", "Ada Brush")
    put(root, "recreation/games/cards/white/ace", "Ada Brush")
    put(root, "unsorted/any", "Ada Brush").write_bytes(b"is never read")
    put(root, "food/text", "Ada Brush").write_bytes(b"no picture at all")
    Image.new("RGBA", (60, 60), (0, 0, 0, 0)).save(put(root, "food/empty", "Ada Brush"))
    put(root, "food/photo", "Ada Brush")
    svg = root / "svg/food/photo.svg"
    link = (
        '<image width="9" xlink:href="/home/ada/photo.png"/><image xlink:href="data:image/png,"/>'
    )
    svg.write_text(svg.read_text().replace("</svg>", f"{link}</svg>"))
    put(root, "food/lost", "Ada Brush").unlink()
    os.link(root / "png/people/cook.png", root / "png/people/cook_again.png")
    put(root, "people/cook_copy", "Bo Inkpen").write_bytes(
        (root / "png/people/cook.png").read_bytes()
    )
    big = Image.open(root / "png/animals/birds/gull0.png").resize((192, 192))
    big.save(put(root, "animals/gull_large", "Ada Brush"))
    page = Image.new("RGB", (400, 400), "white")
    page.paste((10, 10, 10), (40, 40, 60, 60))
    page.save(put(root, "tools/hole", "Bo Inkpen"))
    return root


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        assert tuple(reader.fieldnames or ()) == COLUMNS
        return list(reader)


# --- metadata -------------------------------------------------------------------------------


def test_sound_svg() -> None:
    said = read_metadata((DATA / "sound.svg").read_bytes())
    assert said.author == "Ada Brush"
    assert said.date == "May 3, 2005"
    assert said.license_url == "http://web.resource.org/cc/PublicDomain"


def test_broken_svg_is_searched() -> None:
    said = read_metadata((DATA / "broken.svg").read_bytes())
    assert (said.author, said.date) == ("Bo Øst", "2005/06/21")


def test_entities_are_never_expanded() -> None:
    started = time.monotonic()
    said = read_metadata((DATA / "laughs.svg").read_bytes())
    assert said.author == ""
    assert time.monotonic() - started < 1


def test_utf16_and_own_text_of_the_creator() -> None:
    text = (
        '<?xml version="1.0" encoding="UTF-16"?><svg xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<metadata><dc:creator> 김철수 </dc:creator></metadata></svg>"
    )
    assert read_metadata(text.encode("utf-16")).author == "김철수"


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 5000, b"<svg", b"\xff\xfe<s", b"<dc:creator>" * 9000,
     b"<dc:creator " + b"<dc:title " * 9000, b"<svg encoding='x'/>" * 3,
     b"<?xml version='1.0' encoding='no-such'?><svg/>"],
)  # fmt: skip
def test_anything_else_says_nothing_quickly(data: bytes) -> None:
    started = time.monotonic()
    assert read_metadata(data).author == ""
    assert time.monotonic() - started < 5


def test_metadata_beyond_the_cap_is_not_read() -> None:
    text = (DATA / "sound.svg").read_text()
    late = text.replace("<metadata>", f"<!--{' ' * MAX_BYTES}--><metadata>")
    assert read_metadata(late.encode()).author == ""


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ('<image xlink:href="photo.png"/>', True),
        ("<image\n x='0'\n href = 'file:///x.jpg'/>", True),
        ('<image xlink:href="data:image/png;base64,AA"/>', False),
        ('<image href="#part"/>', False),
        ('<use xlink:href="other.svg"/>', False),
        ("<image " * 20_000, False),
    ],
)
def test_pictures_of_other_files_are_seen(element: str, expected: bool) -> None:
    started = time.monotonic()
    assert shows_other_file(f"<svg>{element}</svg>".encode()) is expected
    assert time.monotonic() - started < 2


# --- the tree -------------------------------------------------------------------------------


def test_drawings_carry_their_metadata(tree: Path) -> None:
    drawings = {one.stem: read_drawing(one) for one in list_drawings(tree)}
    gull, odd = drawings["animals/birds/gull0"], drawings["tools/odd"]
    assert (gull.author, gull.genre, gull.folder) == ("Ada Brush", "animals", "animals/birds")
    assert (gull.year, gull.date, gull.license) == (2005, "2005-05-30", "public domain")
    assert (odd.genre, odd.year, odd.date) == ("tools", 2005, "")
    assert drawings["animals/nobody"].author is None
    assert drawings["people/cook_again"].svg is None


def test_links_stay_within_the_tree(tree: Path, tmp_path: Path) -> None:
    outside = put(tmp_path / "other", "x", "Eve")
    (tree / "png/animals/out.png").symlink_to(outside)
    (tree / "png/animals/ring.png").symlink_to("ring.png")
    (tree / "png/animals/within.png").symlink_to("birds/gull1.png")
    (tree / "png/animals/folder.png").mkdir()
    stems = {file.stem: file for file in list_drawings(tree)}
    assert not {"animals/out", "animals/ring", "animals/folder"} & set(stems)
    assert "animals/within" in stems


def test_a_folder_that_is_no_clip_art(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder svg/"):
        list_drawings(tmp_path)


# --- preparing ------------------------------------------------------------------------------


def test_every_drawing_is_counted_once(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = prepare(tree, out, progress=quiet)
    assert summary.dropped == {
        "no_author": 2,  # one says "unknown", one has no SVG
        "other_category": 4,
        "format": 1,
        "blank": 1,
        "missing": 1,
        "other_file": 1,
        "speck": 1,
        "duplicate": 1,
        "near_duplicate": 1,
    }
    lists = [rows_of(out / name) for name in FILES]
    assert [len(rows) for rows in lists] == [summary.indexed, summary.queries, summary.unknown]
    assert summary.found == len(list_drawings(tree))
    assert summary.authors == len({row["author"] for row in lists[0]})
    assert summary.found == sum(map(len, lists)) + sum(summary.dropped.values())
    paths = [row["path"] for rows in lists for row in rows]
    assert len(set(paths)) == len(paths)
    sources = {row["source"] for rows in lists for row in rows}
    assert "debian:openclipart-svg/people/cook.svg" in sources
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in paths)
    assert {row["author"] for rows in lists for row in rows} == {
        "Ada Brush",
        "Bo Inkpen",
        "Cy Lone",
    }
    # Ada has three series, so the smallest goes out whole; all else that is asked about
    # belongs to a series that stays.
    asked = {row["title_id"] for row in lists[1]}
    kept = {row["title_id"] for row in lists[0]}
    assert asked - kept == {"openclipart:ada-brush/people"}
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_nobody_fills_the_index_alone() -> None:
    rows = [{"author": "Ada" if n % 4 else "Bo", "source": f"{n}"} for n in range(40)]
    some = at_most(rows, 10)
    assert [row["author"] for row in some].count("Ada") == 10
    assert [row for row in some if row["author"] == "Bo"] == rows[::4]
    assert some == sorted(some, key=rows.index)
    assert some[:10] != rows[:10]  # a draw, not the first


def test_second_call_is_instant_and_any_change_is_seen(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = prepare(tree, out, progress=quiet)
    assert not first.reused

    def never(_done: int, _total: int, _what: str = "") -> None:
        raise AssertionError("nothing was to be done")

    again = prepare(tree, out, progress=never)
    assert again.reused
    assert again.dropped == first.dropped
    (out / "summary.json").write_text('{"version"')
    assert not prepare(tree, out, progress=quiet).reused
    put(tree, "food/new", "Ada Brush")
    assert prepare(tree, out, progress=quiet).found == first.found + 1


def test_same_files_give_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    prepare(tree, tmp_path / "a", progress=quiet)
    prepare(tree, tmp_path / "b", progress=quiet)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_interrupted_prepare_leaves_no_stamp(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    prepare(tree, out, progress=quiet)
    put(tree, "food/new", "Ada Brush")
    real = openclipart.replace_file
    written: list[str] = []

    def failing(path: Path, data: bytes) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path.name)
        real(path, data)

    monkeypatch.setattr(openclipart, "replace_file", failing)
    with pytest.raises(KeyboardInterrupt):
        prepare(tree, out, progress=quiet)
    assert not (out / "summary.json").exists()
    monkeypatch.undo()
    assert not prepare(tree, out, progress=quiet).reused
    assert json.loads((out / "summary.json").read_text())["indexed"] > 0


def test_empty_tree(tmp_path: Path) -> None:
    (tmp_path / "svg").mkdir()
    (tmp_path / "png").mkdir()
    summary = prepare(tmp_path, tmp_path / "out", progress=quiet)
    assert (summary.found, summary.indexed, summary.dropped) == (0, 0, {})


# --- splitting ------------------------------------------------------------------------------


def made_up(author: str, genre: str, series: str, count: int) -> list[dict[str, str]]:
    return [
        {"author": author, "genre": genre, "series": series, "path": f"{author}{series}{number}",
         "title_id": f"{author}/{series}", "source": f"{author}/{series}/{number}"}
        for number in range(count)
    ]  # fmt: skip


def test_unknown_authors_leave_wholly() -> None:
    rows = [*made_up("crisp", "people", "a", 10), *made_up("plain", "food", "b", 10)]
    held = hold_out(rows, unknown_authors=("plain", "somebody else"))
    queries, unknown = held
    assert {rows[place]["author"] for place in unknown} == {"plain"}
    assert len(unknown) == 10
    assert not queries & unknown
    assert held == hold_out(rows, unknown_authors=("plain",))
    assert not hold_out(rows)[1]


def test_held_out_series_go_whole_and_leave_a_style_behind() -> None:
    rows = [
        *made_up("many", "food", "a", 3), *made_up("many", "food", "b", 95),
        *made_up("many", "tools", "c", 2), *made_up("two", "food", "a", 6),
        *made_up("two", "food", "b", 2), *made_up("one", "food", "a", 40),
        *made_up("few", "food", "a", 1), *made_up("few", "food", "b", 4),
    ]  # fmt: skip
    queries, _ = hold_out(rows)
    asked = [rows[place]["title_id"] for place in sorted(queries)]
    # The whole of many/c as a new work; elsewhere two pictures of works that stay.
    assert asked == [*["many/b"] * 2, *["many/c"] * 2, *["two/a"] * 2, *["one/a"] * 2]


def test_showcase_leads_with_figures_and_varies_authors_and_genres(tmp_path: Path) -> None:
    rows = [
        *made_up("a", "food", "f", 3), *made_up("b", "people", "p", 3),
        *made_up("c", "animals", "p", 1), *made_up("d", "people", "people / clothing", 1),
    ]  # fmt: skip
    for size, row in enumerate(rows):
        row["path"] = str(tmp_path / row["path"].replace("/", "-"))
        Path(row["path"]).write_bytes(bytes(size))
    chosen = [Path(row["path"]).name for row in showcase(rows)]
    assert chosen == ["cp0", "bp2", "bp1", "bp0", "af2", "dpeople - clothing0", "af1", "af0"]
    assert showcase([]) == []


# --- fetching -------------------------------------------------------------------------------

FAKE_TOOL = """#!{python}
import pathlib, sys, time
room = pathlib.Path({room!r})
tool, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
name = words[-1]
data = ("package " + name).encode() * 1000
with (room / "calls").open("a") as log:
    log.write(tool + " " + " ".join(words[-2:]) + "\\n")
private = any("Dir::State::Lists" in word for word in words)
if tool == "apt-cache":
    for name in words[words.index("--no-all-versions") + 1 :]:
        print("Package: " + name + "\\nSize: " + str(len(("package " + name) * 1000)))
elif tool == "apt-get":
    if (room / "offline").exists():
        sys.exit("E: Could not resolve the host")
    if (room / "no-lists").exists() and not private:
        sys.exit("E: Unable to locate package")
    for name in words[words.index("download") + 1 :] if "download" in words else ():
        data = ("package " + name).encode() * 1000
        half = pathlib.Path(name + "_1_all.deb")
        half.write_bytes(data[: len(data) // 2])
        if (room / "slow").exists():
            (room / "begun").write_text("")
            time.sleep(60)
        half.write_bytes(data)
else:
    tree = pathlib.Path(words[-1]) / "usr/share/openclipart"
    kind = "png" if "-png" in words[-2] else "svg"
    (tree / kind).mkdir(parents=True)
    (tree / kind / "half").write_text("")
    if (room / "slow-unpack").exists():
        (room / "begun").write_text("")
        time.sleep(60)
    (tree / kind / "whole").write_text("")
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with fake tools; files in the returned folder steer them."""
    room, tools = tmp_path / "room", tmp_path / "tools"
    room.mkdir()
    tools.mkdir()
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        (tools / tool).write_text(FAKE_TOOL.format(python=sys.executable, room=str(room)))
        (tools / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(debian, "_POLL_S", 0.01)
    return room


def calls(room: Path) -> list[str]:
    return (room / "calls").read_text().splitlines()


def test_fetch_unpacks_both_packages_once(room: Path, tmp_path: Path) -> None:
    seen: list[tuple[object, ...]] = []
    dest, absent = tmp_path / "dest", tmp_path / "absent"
    root = fetch(dest, progress=lambda *step: seen.append(step), installed=absent)
    assert sorted(path.name for path in root.iterdir()) == ["png", "svg"]
    assert (2, 2, "Unpacking") in seen
    assert not list(dest.glob(".*/*.deb"))
    before = calls(room)
    assert fetch(dest, progress=quiet, installed=absent) == root
    assert calls(room) == before


def test_fetching_needs_nothing_but_python(room: Path, tmp_path: Path) -> None:
    """`make demo` fetches beside the installation of the packages, into a folder of the clone."""
    dest = os.path.relpath(tmp_path / "dest", REPO)
    command = [sys.executable, "-S", "-m", "crawler.demo.debian", dest]
    subprocess.run(command, cwd=REPO, check=True)
    if not debian.INSTALLED.is_dir():
        assert (tmp_path / "dest/openclipart/png/whole").is_file()
        (room / "offline").touch()
        subprocess.run([*command[:-1], str(tmp_path / "none")], cwd=REPO, check=True)


def test_fetch_takes_what_is_installed(room: Path, tmp_path: Path) -> None:
    for kind in ("png", "svg"):
        (tmp_path / "share" / kind).mkdir(parents=True)
    found = fetch(tmp_path / "dest", progress=quiet, installed=tmp_path / "share")
    assert found == tmp_path / "share"
    assert not (room / "calls").exists()


def test_fetch_gets_its_own_lists_where_there_are_none(room: Path, tmp_path: Path) -> None:
    (room / "no-lists").touch()
    root = fetch(tmp_path / "dest", progress=quiet, installed=tmp_path / "absent")
    assert (root / "png/whole").is_file()
    assert any(line.endswith(" update") for line in calls(room))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["slow", "slow-unpack"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_fetch_survives_interruption(
    room: Path, tmp_path: Path, stage: str, how: signal.Signals
) -> None:
    (room / stage).touch()
    dest, absent = tmp_path / "dest", tmp_path / "absent"
    code = (
        "import pathlib, crawler.demo.debian as o\n"
        f"o.fetch(pathlib.Path({str(dest)!r}), progress=lambda *_: None,"
        f" installed=pathlib.Path({str(absent)!r}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPO, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 30
        while not (room / "begun").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(LockedError):
            fetch(dest, progress=quiet, installed=absent)
        process.send_signal(how)
        process.wait(timeout=90)
        assert not (dest / "openclipart").exists()
    finally:
        with suppress(ProcessLookupError):  # the fake tool, when the kill left it an orphan
            os.killpg(process.pid, signal.SIGKILL)
    (room / stage).unlink()
    root = fetch(dest, progress=quiet, installed=absent)
    assert (root / "png/whole").is_file()
    assert (root / "svg/whole").is_file()
    assert not list(dest.glob(".*/work-*"))


def test_fetch_without_network_or_tools(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (room / "offline").touch()
    with pytest.raises(NetworkError, match="resolve the host") as caught:
        fetch(tmp_path / "dest", progress=quiet, installed=tmp_path / "absent")
    assert "demo --images DIR" in caught.value.hint
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="apt-get is not on this machine") as missing:
        fetch(tmp_path / "dest", progress=quiet, installed=tmp_path / "absent")
    assert "demo --images DIR" in missing.value.hint
