"""Settings: order of layers, types, ranges, and what a mistake says."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from schemas.errors import UsageError
from schemas.settings import FIELDS, flatten, load_settings, setting_files


def test_defaults_follow_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = load_settings(environ={}, cwd=tmp_path)
    assert settings.store.root == tmp_path / "toonsearch"
    assert settings.origins == {}


def test_later_layers_win_and_say_so(tmp_path: Path) -> None:
    user = tmp_path / "config" / "toonsearch"
    user.mkdir(parents=True)
    (user / "config.toml").write_text("[query]\nk = 1\nneighbours = 11\n")
    project = tmp_path / "project"
    project.mkdir()
    (project / "toonsearch.toml").write_text("[query]\nk = 2\nunknown_prior = 0.2\n")
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "TOONSEARCH_QUERY__K": "3"}
    settings = load_settings({"query.k": 4, "query.by": None}, environ=environ, cwd=project)
    assert settings.query.k == 4
    assert settings.query.neighbours == 11
    assert settings.query.unknown_prior == 0.2
    assert settings.origins["query.k"] == "flag"
    assert settings.origins["query.neighbours"].endswith("config.toml")
    assert load_settings(environ=environ, cwd=project).origins["query.k"] == "TOONSEARCH_QUERY__K"


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"TOONSEARCH_QUERY__NEIGBOURS": "3"}, "query.neighbours"),
        ({"TOONSEARCH_QERY__K": "3"}, "query.k"),
        ({"TOONSEARCH_QUERY__K": "many"}, "int"),
        ({"TOONSEARCH_QUERY__K": "0"}, "Allowed is 1"),
        ({"TOONSEARCH_QUERY__BY": "titel"}, "'title'"),
        ({"TOONSEARCH_DECODE__MAX_PIXELS": "999999999"}, "Allowed"),
        ({"TOONSEARCH_QUERY__UNKNOWN_PRIOR": "nan"}, "Allowed"),
        ({"TOONSEARCH_QUERY__EXPAND": "perhaps"}, "true or false"),
        ({"TOONSEARCH_INDEX__ERA_YEARS": "0"}, "Allowed is 1 to 100"),
        ({"TOONSEARCH_INDEX__ERA_YEARS": "101"}, "Allowed is 1 to 100"),
        ({"TOONSEARCH_INDEX__ERA_YEARS": "2.5"}, "int"),
        ({"TOONSEARCH_INDEX__ERA_YEARS": "decade"}, "int"),
    ],
)
def test_mistakes_name_the_key_and_the_way_out(
    tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(environ=environ, cwd=tmp_path)
    assert says in str(caught.value)
    assert next(iter(environ)) in str(caught.value)


@pytest.mark.parametrize("text", ["[query", "[qery]\nk=1", "query = 3", "[query]\nk = true"])
def test_a_bad_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "toonsearch.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings(environ={}, cwd=tmp_path)
    assert "toonsearch.toml" in str(caught.value)


def test_every_setting_can_be_set_from_the_environment(tmp_path: Path) -> None:
    plain = flatten(load_settings(environ={}, cwd=tmp_path))
    environ = {
        f"TOONSEARCH_{key.replace('.', '__').upper()}": (
            ";".join(value) if isinstance(value, tuple) else str(value)
        )
        for key, value in plain.items()
    }
    assert flatten(load_settings(environ=environ, cwd=tmp_path)) == plain


KINDS_OF_TOML = {
    "a list": "[1, 2]",
    "a list of lists": "[[1], [2]]",
    "a table": "{ a = 1 }",
    "a date": "2026-01-01",
    "a moment": "2026-01-01T00:00:00Z",
    "a time": "07:30:00",
    "too much": "9" * 400,
    "endless": "inf",
    "no number": "nan",
    "negative": "-1",
    "a zero byte": '"a\\u0000b"',
}


@pytest.mark.parametrize("key", FIELDS)
def test_no_setting_takes_a_value_of_another_kind(tmp_path: Path, key: str) -> None:
    section, _, name = key.partition(".")
    kind = str(FIELDS[key].type)
    wrong = dict(KINDS_OF_TOML)
    if kind not in ("int", "float", "Amount"):
        wrong |= {"a number": "7", "a fraction": "1.5"}
    if kind != "bool":
        wrong["a switch"] = "true"
    for what, value in wrong.items():
        (tmp_path / "toonsearch.toml").write_text(f"[{section}]\n{name} = {value}\n")
        with pytest.raises(UsageError) as caught:
            load_settings(environ={}, cwd=tmp_path)
        said = str(caught.value)
        assert key in said and "toonsearch.toml" in said, what
        assert "\n" not in said and "datetime" not in said and "[1" not in said, what


def test_a_list_where_a_text_is_a_list_by_meaning(tmp_path: Path) -> None:
    (tmp_path / "toonsearch.toml").write_text('[web]\nhosts = ["a.example", "b.example"]\n')
    assert load_settings(environ={}, cwd=tmp_path).web.hosts == "a.example,b.example"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_of_windows_are_read(tmp_path: Path, encoding: str, end: str) -> None:
    text = f'# 설정{end}[nightly]{end}folders = ["웹툰"]{end}'
    (tmp_path / "toonsearch.toml").write_bytes(text.encode(encoding))
    assert load_settings(environ={}, cwd=tmp_path).nightly.folders == ("웹툰",)


@pytest.mark.parametrize("encoding", ["cp949", "utf-16-le"])
def test_files_that_are_not_utf8_say_how_to_save_them(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "toonsearch.toml").write_bytes("# 설정\n".encode(encoding))
    with pytest.raises(UsageError, match="Save it as UTF-8"):
        load_settings(environ={}, cwd=tmp_path)


@pytest.mark.parametrize("root", ["", " ", "\t", "~nobody-of-this-name/x"])
def test_a_root_that_names_no_folder_is_refused(tmp_path: Path, root: str) -> None:
    (tmp_path / "toonsearch.toml").write_text(f"[store]\nroot = '{root}'\n")
    for flags, environ, cwd in (
        ({"store.root": root}, {}, tmp_path / "none"),
        ({}, {"TOONSEARCH_STORE__ROOT": root}, tmp_path / "none"),
        ({}, {}, tmp_path),
    ):
        with pytest.raises(UsageError, match=r"store\.root"):
            load_settings(flags, environ=environ, cwd=cwd)


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for home in (None, "", "relative"):
        if home is not None:
            monkeypatch.setenv("HOME", home)
        assert load_settings({"store.root": tmp_path}, cwd=tmp_path).store.root == tmp_path
        with pytest.raises(UsageError, match="--data"):
            load_settings(cwd=tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for relative in ("", "relative"):  # counts as not given
        monkeypatch.setenv("XDG_DATA_HOME", relative)
        monkeypatch.setenv("XDG_CONFIG_HOME", relative)
        assert load_settings(cwd=tmp_path).store.root == tmp_path / ".local/share/toonsearch"
        assert tmp_path / ".config/toonsearch/config.toml" in setting_files(os.environ, tmp_path)


def test_switches(tmp_path: Path) -> None:
    for word, on in (("true", True), ("ON", True), ("0", False), ("no", False)):
        environ = {"TOONSEARCH_QUERY__EXPAND": word}
        assert load_settings(environ=environ, cwd=tmp_path).query.expand is on
    for text, on in (("true", True), ("false", False)):
        (tmp_path / "toonsearch.toml").write_text(f"[query]\nexpand = {text}\n")
        assert load_settings(environ={}, cwd=tmp_path).query.expand is on
    assert not load_settings({"query.expand": False}, environ={}, cwd=tmp_path).query.expand
    for text in ("1", "[true]", "0.5"):
        (tmp_path / "toonsearch.toml").write_text(f"[query]\nexpand = {text}\n")
        with pytest.raises(UsageError, match=r"query\.expand"):
            load_settings(environ={}, cwd=tmp_path)


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "toonsearch.toml").write_text('[nightly]\nfolders = ["/a b", "/c"]\n')
    assert load_settings(environ={}, cwd=tmp_path).nightly.folders == ("/a b", "/c")
    environ = {"TOONSEARCH_NIGHTLY__SITES": "naver --weekday; melon"}
    found = load_settings(environ=environ, cwd=tmp_path).nightly.sites
    assert found == ("naver --weekday", "melon")
    (tmp_path / "toonsearch.toml").write_text("[nightly]\nfolders = [1]\n")
    with pytest.raises(UsageError, match=r"nightly\.folders"):
        load_settings(environ={}, cwd=tmp_path)
