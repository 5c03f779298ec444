"""The command line as a user types it: real processes, streams, exit codes and files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drawings import draw_folder, drawing
from tests.small_model import ENVIRON

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow  # real processes: half a minute in all


class Shell:
    """Runs toonsearch with a data root and a home of its own, on the small network or on the
    `shipped` one."""

    def __init__(self, home: Path, *, shipped: bool = False) -> None:
        self.home = home
        self.data = home / "data"
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("TOONSEARCH", "XDG"))},
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            **({} if shipped else ENVIRON),
        }

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "search.cli.app", "--data", str(self.data), *arguments]
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            command,
            cwd=self.home,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        with self.start(*arguments, stdin=subprocess.PIPE) as process:
            out, err = process.communicate(stdin, timeout=120)
        return process.returncode, out.decode(), err.decode()

    def ok(self, *arguments: str, stdin: bytes = b"") -> str:
        code, out, err = self.run(*arguments, stdin=stdin)
        assert code == 0, err
        return out

    def fails(self, code: int, *arguments: str, stdin: bytes = b"") -> str:
        """The one line on standard error of a command that must fail so."""
        found, out, err = self.run(*arguments, stdin=stdin)
        lines = [line for line in err.splitlines() if "error:" in line]
        assert found == code, (found, out, err)
        assert out == ""
        assert len(lines) == 1, err
        assert "Traceback" not in err
        return lines[0]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    home = tmp_path_factory.mktemp("home")
    shell = Shell(home, shipped=True)
    draw_folder(home / "drawings")
    shell.ok("import", "folder", "drawings")
    shell.ok("index", "build")
    for hand in range(4):
        drawing(hand, 900 + hand).save(home / f"query{hand}.jpg", quality=92)
    yield shell


def test_a_new_picture_finds_its_hand(shell: Shell) -> None:
    for hand in range(4):
        answer = json.loads(shell.ok("query", f"query{hand}.jpg", "-k", "3", "--json"))
        assert len(answer["titles"]) == 3
        assert answer["titles"][0]["authors"] == [f"hand {hand}"]
        assert answer["labels"]["authors"][0]["label"] == f"hand {hand}"
        shares = [label["probability"] for label in answer["labels"]["authors"]]
        told = [*shares, answer["labels"]["unknown_author"]]
        assert sum(told) <= 1.0 + 1e-6 * len(told)  # each is rounded to six digits
        percentiles = [hit["percentile"] for title in answer["titles"] for hit in title["pictures"]]
        assert all(0 <= percentile <= 100 for percentile in percentiles)


def test_every_indexed_picture_finds_itself(shell: Shell) -> None:
    for path in sorted((shell.home / "drawings").rglob("*.png"))[::16]:
        answer = json.loads(shell.ok("query", str(path), "-k", "1", "--by", "picture", "--json"))
        best = answer["pictures"][0]
        assert best["similarity"] > 0.998
        assert best["source_path"] == best["path"] == str(path.resolve())


def test_output_forms(shell: Shell) -> None:
    table = shell.ok("query", "query0.jpg")
    assert "hand 0" in table
    assert "\x1b" not in table
    lines = shell.ok("query", "query0.jpg", "--nl").splitlines()
    assert all(json.loads(line) for line in lines)
    csv = shell.ok("query", "query0.jpg", "--csv").splitlines()
    assert len(csv) == 11
    paths = shell.ok("query", "query0.jpg", "-f").splitlines()
    assert all(Path(path).is_file() for path in paths)
    shell.ok("query", "query0.jpg", "--html", "gallery.html")
    page = (shell.home / "gallery.html").read_text("utf-8")
    assert "hand 0" in page
    assert "http" not in page.split("</head>")[1].replace("http://www.w3.org", "")


def test_several_pictures_standard_input_and_crops(shell: Shell) -> None:
    data = (shell.home / "query1.jpg").read_bytes()
    piped = json.loads(shell.ok("query", "-", "--json", stdin=data))
    named = json.loads(shell.ok("query", "query1.jpg", "--json"))
    assert piped["titles"] == named["titles"]
    both = json.loads(shell.ok("query", "query1.jpg", "query1.jpg", "--json"))
    assert [t["title_id"] for t in both["titles"]] == [t["title_id"] for t in named["titles"]]
    whole = json.loads(shell.ok("query", "query1.jpg", "--crop", "0,0,100%,100%", "--json"))
    assert whole["titles"][0]["title_id"] == named["titles"][0]["title_id"]
    shell.ok("query", "query1.jpg", "--crop", "10,10,100,80")


def test_filters_act_before_the_search(shell: Shell) -> None:
    others = json.loads(
        shell.ok("query", "query2.jpg", "--where", "author = 'hand 0'", "-k", "3", "--json")
    )
    assert [title["authors"] for title in others["titles"]] == [["hand 0"]] * 3
    assert others["query"]["candidates_count"] == 12
    without = json.loads(
        shell.ok("query", "query2.jpg", "--exclude-same-author", "-k", "99", "--json")
    )
    assert len(without["titles"]) == 9
    assert ["hand 2"] not in [title["authors"] for title in without["titles"]]


def test_status_adds_up_and_doctor_is_content(shell: Shell) -> None:
    status = json.loads(shell.ok("status", "--json"))
    total = status["embedded"] + status["pending"]
    total += sum(status["skipped"].values()) + sum(status["failed"].values())
    assert status["pictures"] == total == 48
    assert "ok" in shell.ok("doctor")
    assert "store.root" in shell.ok("config", "show", "--origin").replace(
        "[store]\nroot", "store.root"
    )


def test_repeats_change_nothing(shell: Shell) -> None:
    before = sorted(p.name for p in (shell.data / "index").iterdir())
    assert "48 unchanged" in shell.ok("import", "folder", "drawings")
    assert "up to date" in shell.ok("index", "build")
    assert sorted(p.name for p in (shell.data / "index").iterdir()) == before


@pytest.mark.parametrize(
    ("code", "arguments", "says"),
    [
        (3, ("query", "nowhere.jpg"), "does not exist"),
        (3, ("query", "."), "directory"),
        (3, ("query", "text.jpg"), "not a picture"),
        (3, ("query", "zero.png"), "empty"),
        (3, ("query", "query0.jpg", "--where", "gener = 'x'"), "genre"),
        (3, ("query", "query0.jpg", "--where", "genre = "), "--where"),
        (3, ("query", "query0.jpg", "--where", "1); drop table titles; --"), "--where"),
        (3, ("query", "query0.jpg", "--exclude-author", "hand 7"), "hand"),
        (2, ("query", "query0.jpg", "-k", "0"), "k"),
        (2, ("query", "query0.jpg", "--crop", "1,2,3"), "crop"),
        (3, ("query", "query0.jpg", "--crop", "900,900,5,5"), "crop"),
        (2, ("query", "query0.jpg", "--nosuch"), "nosuch"),
        (2, ("qurey", "query0.jpg"), "qurey"),
        (2, ("query",), "PICTURE"),
        (3, ("import", "folder", "nowhere"), "there is no folder nowhere"),
        (2, ("import", "folder", "drawings", "--pattern", "{autor}"), "author"),
        (3, ("import", "manifest", "nowhere.csv"), "no manifest"),
        (5, ("index", "publish", "g1"), "g1"),
        (5, ("index", "rollback"), "no older"),
    ],
)
def test_mistakes_get_one_line_and_a_code(
    shell: Shell, code: int, arguments: tuple[str, ...], says: str
) -> None:
    (shell.home / "text.jpg").write_text("I am not a picture")
    (shell.home / "zero.png").touch()
    assert says in shell.fails(code, *arguments)


def test_no_index_yet(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    drawing(0, 1).save(tmp_path / "a.png")
    assert "open DIR` makes one of a folder" in shell.fails(5, "query", "a.png")
    assert "nothing to index" in shell.fails(3, "index", "build")


def test_a_closed_pipe_ends_quietly(shell: Shell) -> None:
    with shell.start("-q", "query", "query0.jpg", "--nl") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 141)


def test_two_writers(shell: Shell) -> None:
    from schemas.storage.layout import Layout
    from schemas.storage.locking import writing

    with writing(Layout(shell.data), "test"):
        started = time.monotonic()
        line = shell.fails(75, "index", "build")
        assert time.monotonic() - started < 3.0  # the start of Python included
        assert f"process {os.getpid()}" in line
        shell.ok("query", "query0.jpg")


def test_interrupt_keeps_what_is_done(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    draw_folder(tmp_path / "drawings", titles=4, pictures=5)
    shell.ok("import", "folder", "drawings")
    with shell.start("embed") as process:
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    assert b"Traceback" not in err
    shell.ok("index", "build")
    status = json.loads(shell.ok("status", "--json"))
    assert (status["embedded"], status["pending"]) == (80, 0)


def test_a_damaged_index_is_refused_and_can_be_rolled_back(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    draw_folder(tmp_path / "drawings", titles=1)
    shell.ok("import", "folder", "drawings")
    shell.ok("index", "build")
    drawing(0, 77).save(tmp_path / "drawings/hand 0/title 0.0/new.png")
    shell.ok("import", "folder", "drawings")
    shell.ok("index", "build")
    current = (shell.data / "index/CURRENT").read_text().split()[0]
    vectors = shell.data / "index" / current / "vectors.faiss"
    data = bytearray(vectors.read_bytes())
    data[len(data) // 2] ^= 4
    vectors.write_bytes(data)
    query = ("query", "drawings/hand 0/title 0.0/new.png")
    assert "vectors.faiss" in shell.fails(5, *query)
    code, out, _ = shell.run("doctor")
    assert code == 5
    assert "rollback" in out or "index build" in out
    shell.ok("index", "rollback")
    shell.ok(*query)


@pytest.mark.parametrize(
    "command",
    ["", "query", "import", "import folder", "import manifest", "embed", "index", "index build",
     "index list", "index verify", "index publish", "index rollback", "status", "doctor",
     "config", "config show", "demo"],
)  # fmt: skip
def test_every_help_ends_with_an_example(shell: Shell, command: str) -> None:
    page = shell.ok(*command.split(), "--help")
    assert "Example" in page
    assert "toonsearch" in page.split("Example")[1]
