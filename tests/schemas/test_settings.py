"""Settings: order of layers, types, ranges, and what a mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import UsageError
from schemas.settings import flatten, load_settings


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
