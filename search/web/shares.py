"""Links to a result that outlive the server's memory: vectors are kept, not the picture."""

from __future__ import annotations

import json
import re
import secrets
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np

from indexer.questions import Question
from search.web.remembered import Style
from search.web.store import Store

DAY_S = 86_400
SHARE_ID = re.compile(r"s-[A-Za-z0-9_-]{22}")


def share(store: Store, style: Style, days: int) -> tuple[str, float]:
    """Keep a style for some days; returns its id and when it expires (seconds since 1970).

    Expired ones are removed at the same time.
    """
    key, now = f"s-{secrets.token_urlsafe(16)}", time.time()
    expires = now + days * DAY_S
    with store.writing() as connection:
        connection.execute("delete from shares where expires < ?", (now,))
        connection.execute(
            "insert into shares values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                style.question.vector.astype("<f4").tobytes(),
                style.model_id,
                style.preprocessing,
                json.dumps(style.own),
                style.pictures_count,
                now,
                expires,
            ),
        )
        if style.question.in_grey is not None:
            grey = style.question.in_grey.astype("<f4").tobytes()
            connection.execute("insert into shares_in_grey values (?, ?)", (key, grey))
        if style.question.deviation is not None:
            deviation = style.question.deviation
            connection.execute("insert into share_deviations values (?, ?)", (key, deviation))
    return key, expires


def shared(store: Store, key: str) -> Style | None:
    """The style behind a link; None when there is none, or no longer."""
    if not SHARE_ID.fullmatch(key):
        return None
    with store.reading() as connection:
        if connection is None:
            return None
        row = connection.execute(
            "select s.vector, g.vector, deviation, model_id, preprocessing, own, pictures_count"
            " from shares s left join shares_in_grey g using (id)"
            " left join share_deviations using (id)"
            " where id = ? and expires >= ?",
            (key, time.time()),
        ).fetchone()
    if row is None:
        return None
    vector, grey, deviation, model_id, preprocessing, own, count = row
    return Style(
        Question(_read(vector), None if grey is None else _read(grey), deviation),
        model_id,
        preprocessing,
        tuple(json.loads(own)),
        count,
    )


def _read(vector: bytes) -> np.ndarray:
    return np.frombuffer(vector, "<f4").astype(np.float32)


def said(key: str, expires: float) -> dict[str, Any]:
    """What the page is told of a new link."""
    moment = datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds")
    return {"id": key, "link": f"/?r={key}", "expires": moment}
