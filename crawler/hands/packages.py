"""Packages of npm as a source of pictures: `npm pack` brings one and checks its digest.

Nothing is installed and no script of a package runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from schemas.errors import InputError, NetworkError

MAX_JSON_BYTES = 256 * 1024**2
FETCH_SECONDS = 900


def fetch_npm(name: str, version: str, store: Path) -> Path:
    """The archive of a package in `store`, fetched when it is not there.

    npm compares it with the digest in the registry's metadata before it is kept.

    Errors:  InputError without npm, NetworkError when it cannot be fetched
    """
    final = store / f"{name.strip('@').replace('/', '-')}-{version}.tgz"
    if final.is_file():
        return final
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"npm is not on this machine, so {name} cannot be fetched")
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix="fetch-") as work:
        command = [npm, "pack", f"{name}@{version}", "--ignore-scripts", "--pack-destination", work]
        try:
            done = subprocess.run(
                command,
                cwd=work,
                env={**os.environ, "npm_config_update_notifier": "false"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=FETCH_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise NetworkError(f"npm took more than {FETCH_SECONDS} s for {name}") from error
        found = sorted(Path(work).glob("*.tgz"))
        if done.returncode or len(found) != 1:
            lines = done.stderr.decode("utf-8", "replace").splitlines()
            complaints = [line for line in lines if "code" in line] or lines or ["no file"]
            raise NetworkError(f"npm cannot fetch {name}@{version} ({complaints[0].strip()})")
        found[0].replace(final)
    return final


class JsonArchive:
    """The JSON files of an npm archive, read one at a time and never unpacked."""

    def __init__(self, file: Path) -> None:
        """Errors:  InputError when it is no archive"""
        self.file = file
        try:
            self._tar = tarfile.open(file)  # noqa: SIM115 - it is read from as long as this lives
            self._members = {one.name: one for one in self._tar if one.isfile()}
        except (OSError, tarfile.TarError, EOFError) as error:
            raise InputError(f"{file}: is damaged ({error})", "Delete it and try again.") from error

    def read(self, path: str) -> dict[str, Any]:
        """One file below `package/`.

        Errors:  InputError when it is missing, too large or no JSON object
        """
        member = self._members.get(f"package/{path}")
        handle = self._tar.extractfile(member) if member is not None else None
        if member is None or handle is None or member.size > MAX_JSON_BYTES:
            raise InputError(f"{self.file}: {path} is missing or too large")
        try:
            body = json.loads(handle.read())
        except (OSError, ValueError, tarfile.TarError, EOFError) as error:
            raise InputError(f"{self.file}: {path} cannot be read ({error})") from error
        if not isinstance(body, dict):
            raise InputError(f"{self.file}: {path} is no JSON object")
        return body
