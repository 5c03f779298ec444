"""`toonsearch serve`: the page and the API."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from schemas.errors import InputError, UsageError
from search.cli.commands import examples
from search.cli.context import Session

if TYPE_CHECKING:
    from socket import socket

    from schemas.settings import Settings


@click.command(
    epilog=examples(
        "toonsearch serve --open",
        "toonsearch serve --host 0.0.0.0 --port 80",
        "toonsearch serve --add-account kim",
    )
)
@click.option("--host", metavar="ADDRESS", help="Where to listen (127.0.0.1: this machine only).")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@click.option("--add-account", metavar="NAME", help="Make an account, ask for its password, end.")
@click.option("--remove-account", metavar="NAME", help="Remove an account and its galleries, end.")
@click.pass_obj
def command(
    session: Session,
    host: str | None,
    port: int | None,
    open_page: bool,
    add_account: str | None,
    remove_account: str | None,
) -> None:
    """Open a page where a picture is dropped, and an API for programs.

    Runs until Ctrl-C. A new index generation is picked up by itself. What strangers may do
    is said by the settings of the section web; see docs/web.md.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    settings = session.settings({"web.host": host, "web.port": port})
    try:
        from search.web.server import listen, serve
    except ImportError as error:
        raise UsageError(
            f"the page needs the package {error.name}", "Install toonsearch[web]."
        ) from error
    if add_account is not None or remove_account is not None:
        _accounts(session, settings, add_account, remove_account)
        return
    listener: socket = listen(settings.web.host, settings.web.port)
    serve(settings, listener, note=session.note, open_page=open_page)


def _accounts(session: Session, settings: Settings, add: str | None, remove: str | None) -> None:
    """Make and remove accounts; a running server knows of it at once."""
    from search.web.db import Store
    from search.web.errors import ApiError

    store = Store(settings.layout.web)
    try:
        if remove is not None:
            if not store.remove_account(remove):
                raise InputError(f"there is no account {remove!r}")
            session.note(f"the account {remove} is removed")
        if add is not None:
            made = store.create_account(add, _password())
            session.note(f"the account {made.name} is made")
    except ApiError as error:
        raise InputError(error.message, error.hint) from error
    finally:
        store.close()


def _password() -> str:
    """From a person who types it twice unseen, or from one line of a pipe."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\n")
