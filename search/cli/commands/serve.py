"""`toonsearch serve`: the page and the API."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from schemas.errors import InputError, UsageError
from search.cli.context import Session
from search.cli.options import Host, Port, examples, new_app

if TYPE_CHECKING:
    from schemas.settings import Settings

app = new_app()


@app.command(
    epilog=examples(
        "toonsearch serve --open",
        "toonsearch serve --host 0.0.0.0 --port 8080",
        "toonsearch serve --root-path /toon",
        "toonsearch serve --add-account kim",
    )
)
def serve(
    ctx: typer.Context,
    host: Host = None,
    port: Port = None,
    root_path: Annotated[
        str | None,
        Option(metavar="PATH", help="The page's path at its proxy, such as /toon."),
    ] = None,
    open_page: Annotated[bool, Option("--open", help="Open the page in a browser.")] = False,
    add_account: Annotated[
        str | None, Option(metavar="NAME", help="Make an account, ask for its password, end.")
    ] = None,
    remove_account: Annotated[
        str | None, Option(metavar="NAME", help="Remove an account and its galleries, end.")
    ] = None,
) -> None:
    """Open a page where a picture is dropped, and an API for programs.

    Runs until Ctrl-C. A new index generation is picked up by itself. What visitors may do
    is said by the settings of the section web; see docs/web.md.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    session: Session = ctx.obj
    settings = session.settings({"web.host": host, "web.port": port, "web.root_path": root_path})
    try:
        from search.engine import check_devices
        from search.web import server
    except ImportError as error:
        raise UsageError(
            f"the page needs the package {error.name}", "Install toonsearch[web]."
        ) from error
    if add_account is not None or remove_account is not None:
        _accounts(session, settings, add_account, remove_account)
        return
    check_devices(settings)
    if not settings.layout.current.is_file():
        from indexer.vector_index.generations import no_index

        session.note(f"{no_index(settings.layout)} {session.offer()}".strip())
    listener = server.listen(settings.web.host, settings.web.port)
    server.serve(settings, listener, note=session.note, open_page=open_page)


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
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\n")
