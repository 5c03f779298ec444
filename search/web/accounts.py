"""Accounts: names, hashed passwords, and sessions that a cookie names.

A session is 256 random bits in an HttpOnly cookie that no other site can send along
(SameSite=Strict); the store keeps only their digest, so a copy of the file opens nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from functools import cache
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from fastapi import Request
from starlette.responses import Response

from search.filters import folded
from search.web.db import Store
from search.web.errors import Refused

COOKIE = "toonsearch_session"
SESSION_S = 30 * 86_400
MIN_PASSWORD, MAX_PASSWORD = 10, 200
MAX_NAME = 40
MAX_ACCOUNTS = 10_000


class Account(NamedTuple):
    """Somebody who may keep galleries here."""

    account_id: int
    name: str


@cache
def _hasher() -> PasswordHasher:
    # OWASP's first choice for servers that have little memory: 19 MiB, two passes.
    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


@cache
def _nobody() -> str:
    """A hash that is checked when there is no such name, so that both take as long."""
    return _hasher().hash(secrets.token_urlsafe())


def tidied(text: str) -> str:
    """Text without control characters, halves of characters and spare spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def clean_text(text: str, what: str, longest: int) -> str:
    """A name as it may be kept and shown.

    Errors:  Refused (422)
    """
    tidy = tidied(text)
    if not tidy or len(tidy) > longest:
        raise Refused(422, "name", f"{what} needs 1 to {longest} characters")
    return tidy


def create_account(store: Store, name: str, password: str) -> Account:
    """Make an account.

    Errors:  Refused when the name is taken (409) or something is too short or too long (422)
    """
    name = clean_text(name, "the name", MAX_NAME)
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise Refused(
            422, "short", f"the password needs {MIN_PASSWORD} to {MAX_PASSWORD} characters"
        )
    hashed = _hasher().hash(password.encode("utf-8", "surrogatepass"))
    try:
        with store.writing() as connection:
            (count,) = connection.execute("select count(*) from accounts").fetchone()
            if count >= MAX_ACCOUNTS:
                raise Refused(507, "full", "this server takes no more accounts")
            cursor = connection.execute(
                "insert into accounts (name, folded, password_hash, created) values (?, ?, ?, ?)",
                (name, folded(name), hashed, time.time()),
            )
    except Refused as error:
        if isinstance(error.__cause__, sqlite3.IntegrityError):
            raise Refused(409, "taken", f"the name {name!r} is taken") from None
        raise
    assert cursor.lastrowid is not None
    return Account(cursor.lastrowid, name)


def remove_account(store: Store, name: str) -> bool:
    """Remove an account with its sessions and galleries; whether there was one."""
    with store.writing() as connection:
        cursor = connection.execute("delete from accounts where folded = ?", (folded(name),))
        return cursor.rowcount > 0


def sign_in(store: Store, name: str, password: str) -> tuple[Account, str]:
    """Check a password; returns the account and a new session's secret.

    Errors:  Refused (401), which does not say whether the name or the password was wrong
    """
    with store.reading() as connection:
        row = (
            connection
            and connection.execute(
                "select account_id, name, password_hash from accounts where folded = ?",
                (folded(tidied(name)),),
            ).fetchone()
        )
    hashed = row[2] if row else _nobody()
    try:
        _hasher().verify(hashed, password.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        row = None
    if not row:
        raise Refused(401, "password", "the name or the password is wrong")
    secret, now = secrets.token_urlsafe(32), time.time()
    with store.writing() as connection:
        connection.execute("delete from sessions where expires < ?", (now,))
        connection.execute(
            "insert into sessions values (?, ?, ?)", (_digest(secret), row[0], now + SESSION_S)
        )
    return Account(row[0], row[1]), secret


def sign_out(store: Store, secret: str) -> None:
    """End a session."""
    with store.writing() as connection:
        connection.execute("delete from sessions where digest = ?", (_digest(secret),))


def account_of(store: Store, secret: str | None) -> Account | None:
    """Whose session this is, None for nobody's."""
    if not secret:
        return None
    with store.reading() as connection:
        if connection is None:
            return None
        row = connection.execute(
            "select account_id, name from sessions join accounts using (account_id)"
            " where digest = ? and expires >= ?",
            (_digest(secret), time.time()),
        ).fetchone()
    return None if row is None else Account(*row)


def secret_of(request: Request) -> str | None:
    """The session's secret that a request carries."""
    return request.cookies.get(COOKIE)


def give_cookie(response: Response, request: Request, secret: str | None) -> None:
    """Set the session's cookie, or take it away."""
    response.set_cookie(
        COOKIE,
        secret or "",
        max_age=SESSION_S if secret else 0,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path="/",
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
