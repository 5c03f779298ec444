"""SQL from visitors: off by default, and confined when it is on."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from schemas.settings import Settings
from tests.search.artists import HANDS, PICTURES_PER_TITLE, TITLES_PER_HAND
from tests.search.web.conftest import opened


def test_sql_is_off_unless_turned_on(client: TestClient) -> None:
    answer = client.post("/v1/sql", json={"sql": "select 1"})
    assert answer.status_code == 403 and answer.json()["code"] == "off"


@pytest.mark.slow
def test_sql_in_its_sandbox(settings: Settings) -> None:
    with opened(settings, sql="on") as server:

        def ask(sql: str, **parameters: Any) -> Any:
            return server.post("/v1/sql", json={"sql": sql, "parameters": parameters})

        found = ask("select author, count(*) n from catalog group by 1 order by 1").json()
        assert found["columns"] == ["author", "n"]
        assert {row[0] for row in found["rows"]} == set(HANDS)
        named = ask("select count(*) from catalog where author = $who", who=HANDS[0]).json()
        assert named["rows"] == [[TITLES_PER_HAND * PICTURES_PER_TITLE]]
        for hostile in ("select * from read_text('/etc/passwd')", "copy titles to '/tmp/x'",
                        "install httpfs", "select", "", "set threads = 9",
                        "select count(*) from range(99999999) a, range(999999) b"):  # fmt: skip
            answer = ask(hostile)
            assert answer.status_code == 422, hostile
            assert "root:" not in answer.text
        assert ask("select 1").json()["rows"] == [[1]]
