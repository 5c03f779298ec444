"""The API against requests made from its own description: nothing is our fault, ever."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples

from schemas.settings import Settings
from tests.search.web.conftest import served

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

pytestmark = pytest.mark.slow


EXAMPLES = 25  # for each route
ROUTES = 28


def test_every_route_with_requests_from_its_own_description(settings: Settings) -> None:
    asked: dict[int, int] = {}
    with served(settings.store.root, accounts="open", max_bytes="200000", sql="on") as address:
        schema = schemathesis.openapi.from_url(f"{address}openapi.json", timeout=120)
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) >= ROUTES

        def check(case: Any) -> None:
            answer = case.call(timeout=120)
            asked[answer.status_code] = asked.get(answer.status_code, 0) + 1
            # 503 and 507 say "not now"; everything else above 499 would be our bug.
            assert answer.status_code < 500 or answer.status_code in (503, 507), answer.text
            assert b"Traceback" not in answer.content
            if answer.status_code >= 400 and case.method != "HEAD":
                said = answer.json()
                assert set(said) == {"error", "hint", "code"} and said["error"]

        for operation in operations:
            with_examples = examples(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            with_examples(given(operation.as_strategy())(check))()
    assert sum(asked.values()) > 300 and asked[200] > 50, asked
