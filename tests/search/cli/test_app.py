"""The command line: help, options, streams and exit codes."""

from __future__ import annotations

import errno
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer import _completion_shared

from crawler import images
from schemas.errors import InputError, LockedError, NetworkError, NoIndexError
from schemas.settings import Settings
from schemas.storage.locking import writing
from search.cli import app as cli
from search.cli.app import COMMANDS, VERSION, main
from search.cli.context import Session
from search.cli.options import counted
from search.cli.reference import pages
from tests.search.artists import HANDS
from tests.search.cli.complaints import complaint

ROOT = Path(__file__).resolve().parents[3]


def run(
    *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """The real program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "search.cli.app", *map(str, arguments)],
        input=stdin, cwd=cwd or ROOT, capture_output=True, check=False, timeout=120,
    )  # fmt: skip


def every_command() -> list[list[str]]:
    return [name.split()[1:] for name, _ in pages()]


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == VERSION


def test_summaries_equal_those_of_the_commands() -> None:
    shown = dict(pages())
    for name, (_, summary) in COMMANDS.items():
        help_page = shown[f"toonsearch {name}"].split("\n\n")[1]
        assert " ".join(help_page.split()) == summary, name


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_help_ends_with_an_example(
    words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("Example:") > shown.index("Options:")
    last = shown.rstrip().splitlines()[-1]
    assert last.strip().startswith(" ".join(["toonsearch", *words][:3])[:16])
    assert "--data DIR" in shown


def test_groups_show_their_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["index"], ["import"], ["config"]):
        assert main(words) == 0
        assert "Commands:" in capsys.readouterr().out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"toonsearch {VERSION}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["query"], "missing argument"),
        (["qurey"], "no such command 'qurey'. Did you mean 'query'?"),
        (["index", "verif"], "no such command 'verif'. Did you mean 'verify'? See"),
        (["query", "x", "--jsn"], "no such option"),
        (["query", "x", "-k", "0"], "invalid value for"),
        (["query", "x", "--by", "author"], "invalid value for '--by'"),
        (["query", "x", "--json", "--csv"], "--json and --csv exclude each other"),
        (["query", "x", "--crop", "1,2"], "--crop '1,2' is not"),
        (["query", "x", "--columns", "titel"], "Did you mean 'title'?"),
        (["query", "--text", "x", "--weights", "1,2"], "--weights needs a picture"),
        (["query", "-", "-"], "standard input can be read only once"),
        (["import", "folder", ".", "--pattern", "{autor}"], "unknown level 'autor'"),
    ],
)
def test_usage_errors_are_one_line_and_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in complaint(capsys)


def test_a_picture_without_a_command_gets_the_right_hint(
    new_picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(new_picture)]) == 2
    assert f"toonsearch query {new_picture}" in complaint(capsys)


@pytest.mark.slow
def test_bad_input_is_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    Image.new("1", (30_000, 30_000)).save(tmp_path / "huge.png")
    for name, said in (
        ("none.png", "none.png does not exist"),
        ("text.jpg", "not a picture that can be read"),
        ("empty.png", "the file is empty"),
        ("folder.png", "is a directory"),
        ("huge.png", "pixels"),
    ):
        started = time.monotonic()
        assert main(["query", name]) == 3
        assert said in complaint(capsys)
        assert time.monotonic() - started < 5


def test_bad_filters_are_3(new_picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--where", "gener = 1"], "Did you mean 'genre'?"),
        (["--exclude-author", "Ana Linea"], "Did you mean 'Anna Línea'?"),
        (["--html", "."], "is a directory"),
        (["--html", "no/x.html"], "does not exist"),
    ):
        assert main(["query", str(new_picture), *words]) == 3
        assert said in complaint(capsys)


def test_no_index_is_5(
    new_picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["query", str(new_picture), "--data", str(tmp_path / "empty")]) == 5
    chosen = f"`toonsearch --data {tmp_path / 'empty'} open DIR`"
    assert (
        complaint(capsys) == f"there is no index yet. {chosen} makes one of a folder of pictures."
    )
    assert main(["index", "verify", "--data", str(tmp_path)]) == 5
    assert main(["index", "rollback", "--data", str(tmp_path)]) == 5


def test_a_lock_is_75(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(settings.layout, "a test"):
        assert main(["embed"]) == 75
        assert "a test" in complaint(capsys)
        assert main(["embed", "--dry-run"]) == 0
        assert main(["query", "--help"]) == 0


@pytest.mark.parametrize(
    ("error", "code"), [(NetworkError("x"), 6), (LockedError("x"), 75), (NoIndexError("x"), 5),
                        (InputError("x", "Do y."), 3)]
)  # fmt: skip
def test_every_error_has_its_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: _raising(error))
    assert main(["status"]) == code
    assert complaint(capsys) == str(error)


def _raising(error: BaseException) -> Any:
    failing = typer.Typer()

    @failing.command("status")
    def command() -> None:
        raise error

    return typer.main.get_command(failing)


def test_a_bug_says_that_it_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: _raising(KeyError("oh\nno")))
    assert main(["status"]) == 1
    assert "this is a bug in toonsearch (KeyError" in complaint(capsys)
    assert main(["--debug", "status"]) == 1
    assert "Traceback" in capsys.readouterr().err


class PanicException(BaseException):
    """Like that of a library in Rust: no Exception."""


def test_a_panic_in_a_library_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    panic = PanicException("called `Result::unwrap()` on an `Err` value\nat x.rs")
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: _raising(panic))
    assert main(["status"]) == 1
    assert "PanicException" in complaint(capsys)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EACCES, "Permission denied", "/a b"), "/a b cannot be read by this user"),
        (OSError(errno.ELOOP, os.strerror(errno.ELOOP), "/x"), "/x cannot be read (Too many"),
        (OSError(errno.ENAMETOOLONG, "", b"/x"), "/x cannot be read (File name too long)"),
        (OSError(errno.ESTALE, "", "/x"), "Mount its file system again"),
        (OSError(errno.EMFILE, "", "/x"), "`ulimit -n`"),
        (OSError(errno.EIO, "", "/x"), "/x cannot be read (Input/output error)"),
        (OSError(errno.ENOENT, "No such file", "/x"), "/x: No such file"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "No route to host"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (RuntimeError("Error: could not open /i: Permission denied"), "/i: Permission denied. Run"),
        (RuntimeError("Could not determine home directory."), "home folder"),
        (RuntimeError("can't start new thread"), "there is not enough memory"),
        (MemoryError(), "there is not enough memory"),
        (ImportError("libx.so: failed to map segment from shared object"), "not enough memory"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_what_is_wrong_with_the_machine_is_no_bug(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: _raising(error))
    assert main(["status"]) in (2, 3)
    assert said in complaint(capsys)


def test_places_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for root, code, said in (
        (str(tmp_path / "a"), 3, "round in a circle"),
        (str(tmp_path / ("x" * 300)), 3, "name too long"),
        (str(tmp_path / "x" / ("y/" * 200)), 2, "400 are the most"),
        ("", 2, "is empty"),
    ):
        assert main(["--data", root, "status"]) == code
        assert said in complaint(capsys)
    assert main(["--data", "", "import", "folder", str(tmp_path)]) == 2
    assert "is empty" in complaint(capsys)


def test_the_current_folder_is_gone(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["--data", str(settings.store.root), "sql", "select 1"]) == 0
    capsys.readouterr()
    assert main(["--data", "relative", "status"]) == 3
    assert "the current folder is gone" in complaint(capsys)
    monkeypatch.chdir(tmp_path)


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell in which `toonsearch` is the real program."""
    program = f'toonsearch() {{ "{sys.executable}" -m search.cli.app "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", program + line], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=120, env={name: v for name, v in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("toonsearch config show <&-", 0, True),
        ("toonsearch config show >&-", 0, False),
        ("toonsearch config show <&- >&- 2>&-", 0, False),
        ("toonsearch sql -q <&-", 3, False),
        ("toonsearch sql -q x 2>&-", 3, False),
    ],
)
def test_closed_streams(line: str, code: int, told: bool) -> None:
    done = shell(line)
    assert (done.returncode, bool(done.stdout)) == (code, told)
    assert len(done.stderr.splitlines()) == (code != 0 and "2>&-" not in line)
    assert "bug" not in done.stderr


@pytest.mark.parametrize("words", ["--help", "config show", "index list", "index list --json"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_onto_a_full_disk(words: str) -> None:
    done = shell(f"toonsearch {words} > /dev/full")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert "the disk is full" in done.stderr
    assert shell(f"toonsearch {words} > /dev/full 2> /dev/full").returncode == 3
    assert shell(f"toonsearch {words} 2> /dev/full").returncode == 0


def test_a_small_address_space_is_told_before_libraries_crash() -> None:
    for kilobytes, command in ((300_000, "status"), (600_000, "status"), (1_000_000, "doctor")):
        done = shell(f"ulimit -v {kilobytes}; toonsearch {command}")
        assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
        assert "there is not enough memory" in done.stderr
    assert shell("ulimit -v 300000; toonsearch status --help").returncode == 0


@pytest.mark.slow
def test_a_limited_address_space_will_do(new_picture: Path) -> None:
    for command in (f"query {new_picture} -q", "status", "sql 'from titles'"):
        done = shell(f"ulimit -v 800000; toonsearch {command}")
        assert (done.returncode, done.stderr) == (0, "")


def test_an_unforeseen_error_about_one_file_is_its_own_and_debug_says_where_it_arose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        Image.effect_noise((32, 32), 90).save(tmp_path / f"{name}.png")
    real, calls = images.is_blank, []

    def is_blank(image: Any) -> bool:
        calls.append(image)
        if len(calls) % 2:
            raise KeyError("MPO")
        return real(image)

    monkeypatch.setattr(images, "is_blank", is_blank)
    logger = logging.getLogger("toonsearch")
    monkeypatch.setattr(logger, "level", logging.WARNING)
    monkeypatch.setattr(logger, "handlers", [])
    command = ["--data", str(tmp_path / "data"), "import", "folder", str(tmp_path), "--json"]
    assert main(command) == 4
    said = capsys.readouterr()
    assert json.loads(said.out)["counts"]["failed"] == 1
    assert "Traceback" not in said.err
    assert main(["--debug", *command, "--retry-failed"]) == 4
    assert "in is_blank" in capsys.readouterr().err
    assert main([*command, "--retry-failed"]) == 0


def test_interruptions_are_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: _raising(KeyboardInterrupt()))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["status"]) == 130
    assert capsys.readouterr().err.startswith("toonsearch: interrupted")
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_tidily(tmp_path: Path, number: signal.Signals) -> None:
    held = tmp_path / "pipe.png"
    os.mkfifo(held)  # reading it waits for ever
    process = subprocess.Popen(
        [sys.executable, "-m", "search.cli.app", "query", str(held)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(2)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert err.decode().startswith("toonsearch: interrupted")


@pytest.mark.parametrize(
    ("moment", "wanted"),
    [("search.cli.app", (-signal.SIGINT, "")), ("nothing", (0, ""))],
)
def test_ctrl_c_before_the_command_line_is_read_needs_no_words(
    moment: str, wanted: tuple[int, str]
) -> None:
    code = (
        "import os, signal, sys\n"
        "class Impatient:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {moment!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Impatient())\n"
        "import search.__main__\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr.decode()) == wanted


def test_who_ignores_ctrl_c_goes_on_doing_so() -> None:
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "import search.__main__\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_data_goes_to_standard_output_and_notes_do_not(new_picture: Path) -> None:
    done = run("query", new_picture, "--json", "-k", 99)
    assert done.returncode == 0
    assert len(json.loads(done.stdout)["titles"]) == 6
    assert b"6 of the 99 titles" in done.stderr
    assert run("-q", "query", new_picture, "-k", 99).stderr == b""
    assert run("query", new_picture, "-k", 99, "--quiet").stderr == b""


def test_long_lists_can_be_left_as_they_are(new_picture: Path) -> None:
    asked = ("query", str(new_picture), "--by", "picture", "-k", "14", "--json")
    done = [run(*asked, option) for option in ("--no-expand", "--expand")]
    plain, wide = (json.loads(one.stdout) for one in done)
    likeness = [hit["similarity"] for hit in plain["pictures"]]
    assert len(likeness) == 14 and likeness == sorted(likeness, reverse=True)
    assert wide["pictures"][:10] == plain["pictures"][:10]
    wider = [hit["similarity"] for hit in wide["pictures"]]
    assert wider == sorted(wider, reverse=True)
    assert not any(hit["expanded"] for hit in plain["pictures"])


def test_standard_input_equals_a_file(new_picture: Path) -> None:
    named = json.loads(run("query", new_picture, "--json").stdout)
    piped = json.loads(run("query", "-", "--json", stdin=new_picture.read_bytes()).stdout)
    assert piped["titles"] == named["titles"]
    assert piped["labels"] == named["labels"]


def test_a_closed_pipe_ends_quietly(new_picture: Path) -> None:
    command = f"{sys.executable} -m search.cli.app query {new_picture} --json -k 50 | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"{")
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


def test_output_is_utf8_whatever_the_locale(
    drawings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    picture = drawings / HANDS[2] / "Book 20" / "0.png"
    done = run("query", picture)
    assert done.returncode == 0
    assert HANDS[2] in done.stdout.decode()


def test_odd_file_names_are_searched(new_picture: Path) -> None:
    odd = new_picture.with_name("odd\udcff\x1b[31m.png")
    new_picture.rename(odd)
    done = run("query", odd, "--json", "--html", new_picture.parent / "x.html")
    assert done.returncode == 0
    assert "\ufffd" in json.loads(done.stdout)["query"]["pictures"][0]


def test_shared_options_stand_on_either_side(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--data", "x", "config", "show"], ["config", "--data", "x", "show"],
                  ["config", "show", "--data", "x"]):  # fmt: skip
        assert main(words) == 0
        assert f'root = "{tmp_path / "x"}"' in capsys.readouterr().out


def test_the_demo_makes_its_folder_when_the_data_lie_elsewhere(
    tmp_path: Path,
    drawings: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # without pictures
    to = tmp_path / "new" / "demo"
    words = ["--data", str(tmp_path / "d"), "demo", "--images", str(drawings), "--to", str(to)]
    assert main(words) == 0, capsys.readouterr().err
    assert (to / "gallery.html").is_file()
    told = capsys.readouterr()
    stages = [line.split(" s  ")[1] for line in told.err.splitlines() if " s  " in line]
    assert stages[0] == "importing" and stages[-2:] == ["gallery", "together"]
    before, go_on = told.out.split("\nGo on with:\n")
    assert before.endswith("gallery.html\n")
    commands = [shlex.split(line, comments=True) for line in go_on.splitlines()]
    arguments = [words[words.index("--data") :] for words in commands]
    assert [words[2] for words in arguments] == ["query", "serve", "open"]
    assert main(arguments[0]) == 0
    assert main([*arguments[2], "--no-serve"]) == 0
    assert (to / "own" / "index" / "CURRENT").is_file()


def test_without_an_index_the_demo_is_offered(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    new_picture: Path,
    drawings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("TOONSEARCH_STORE__ROOT")
    assert main(["query", str(new_picture)]) == 5
    said = complaint(capsys)
    assert said.startswith("there is no index yet. `toonsearch open DIR` makes one")
    assert said.endswith("To try it on drawings: `toonsearch demo`.")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "data").symlink_to(settings.store.root)
    assert main(["query", str(new_picture)]) == 5
    assert complaint(capsys).endswith("The demo has one: `toonsearch --data demo/data ...`.")
    assert main(["--data", "demo/data", "query", str(new_picture), "--paths-only"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert paths and all(path.is_relative_to(drawings.resolve()) for path in paths)


def test_hints_name_the_data_root(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(data="my data")
    session.note("next: `toonsearch index build`, see `toonsearch index --help`")
    chosen = "next: `toonsearch --data 'my data' index build`, see `toonsearch index --help`"
    assert capsys.readouterr().err == f"toonsearch: {chosen}\n"
    assert main(["--data", "my data", "query", "x.png"]) == 3
    assert main(["--data", "my data", "index", "diff"]) == 5
    assert "`toonsearch --data 'my data' open DIR`" in capsys.readouterr().err


def test_counts_of_one_have_no_plural() -> None:
    assert (
        counted({"new": 1, "titles": 1, "near_duplicates": 2})
        == "1 new, 1 title, 2 near duplicates"
    )


def test_a_file_is_no_data_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["--data", str(tmp_path / "file"), "status"]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_whole_life(
    tmp_path: Path, drawings: Path, new_picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Import, embed, build, list, add, build again, roll back, publish, query, gallery."""
    data = ["--data", str(tmp_path / "life")]

    def said(*words: str) -> str:
        assert main([*data, *words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    first = drawings / HANDS[0]
    assert "would import" in said("import", "folder", str(first), "--dry-run")
    assert "8 new" in said("import", "folder", str(first))
    assert "would index: 0 pictures" in said("index", "build", "--dry-run")
    assert "8 pending" in said("embed", "--dry-run")
    assert "8 embedded" in said("embed")
    assert "would index" in said("index", "build", "--dry-run")
    assert "is published" in said("index", "build")
    assert "is up to date" in said("index", "build")
    rows = "path,author\n" + "".join(
        f"{path},Bertil\n" for path in sorted((drawings / HANDS[1]).rglob("*.png"))
    )
    (tmp_path / "works.csv").write_text(rows)
    counts = json.loads(said("import", "manifest", str(tmp_path / "works.csv"), "--json"))
    assert counts["counts"]["new"] == 8
    built = json.loads(said("index", "build", "--json"))
    assert built["counts"]["pictures"] == 16
    assert all(check["passed"] for check in built["checks"])
    listed = said("index", "list").splitlines()
    assert [line[0] for line in listed] == [" ", "*"]
    assert "would" in said("index", "rollback", "--dry-run")
    older = said("index", "rollback").split()[0]
    assert older != built["generation"]
    assert "is sound" in said("index", "verify")
    assert "would publish" in said("index", "publish", built["generation"], "--dry-run")
    said("index", "publish", built["generation"])
    page = tmp_path / "page.html"
    said("query", str(new_picture), "--html", str(page), "-k", "1")
    assert "Book 0" in page.read_text("utf-8")
    assert len(said("query", str(new_picture), "-f", "-0", "-k", "2").split("\0")) == 3


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")]
)
def test_completion_is_installed(
    shell: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(typer.completion, "_get_shell_name", lambda: shell)
    monkeypatch.setattr(_completion_shared, "_get_shell_name", lambda: shell)
    assert main(["--show-completion"]) == 0
    script = capsys.readouterr().out
    assert word in script
    assert main(["--install-completion"]) == 0
    place = Path(capsys.readouterr().out.split(" installed in ")[1].split("\n")[0])
    assert place.is_relative_to(tmp_path)
    assert place.read_text().strip() == script.strip()


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [("toonsearch que", ["query"]), ("toonsearch index ver", ["verify"]),
     ("toonsearch query --by ", ["title", "picture"])],
)  # fmt: skip
def test_completion_completes(
    typed: str, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_TOONSEARCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    assert run().stdout.decode().split() == wanted


def test_previews_are_for_terminals(new_picture: Path) -> None:
    done = run("query", new_picture, "--preview", "-k", 1)
    assert b"not a terminal" in done.stderr
    assert b"\x1b" not in done.stdout
