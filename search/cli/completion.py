"""Shell completion: Click's script, written where each shell looks for it."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.storage.fsio import storage_error

PLACES = {
    "bash": "bash-completion/completions/toonsearch",
    "zsh": "zsh/site-functions/_toonsearch",
    "fish": "fish/vendor_completions.d/toonsearch.fish",
}
"""Below $XDG_DATA_HOME, where bash-completion and fish look by themselves. zsh does when
`fpath` holds the folder, which `install` cannot know."""


def script(shell: str) -> str:
    """The completion script of a shell."""
    from click.shell_completion import get_completion_class

    from search.cli.app import toonsearch

    kind = get_completion_class(shell)
    assert kind is not None, shell
    return kind(toonsearch, {}, "toonsearch", "_TOONSEARCH_COMPLETE").source()


def install(shell: str) -> Path:
    """Write a shell's completion script for the current user; returns where.

    Errors:  InputError when it cannot be written
    """
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    place = Path(base) / PLACES[shell]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(script(shell), encoding="utf-8")
    except OSError as error:
        raise storage_error(error, str(place)) from error
    return place
