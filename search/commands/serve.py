"""`toonsearch serve`: the page and the API."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from schemas.errors import UsageError
from search.commands import examples
from search.session import Session

if TYPE_CHECKING:
    from socket import socket


@click.command(
    epilog=examples(
        "toonsearch serve --open",
        "toonsearch serve --host 0.0.0.0 --port 80",
    )
)
@click.option("--host", metavar="ADDRESS", help="Where to listen (127.0.0.1: this machine only).")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@click.pass_obj
def command(session: Session, host: str | None, port: int | None, open_page: bool) -> None:
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
    listener: socket = listen(settings.web.host, settings.web.port)
    serve(settings, listener, note=session.note, open_page=open_page)
