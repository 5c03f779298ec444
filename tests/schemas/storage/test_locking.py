"""The writer's lock: one at a time, gone with its owner."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schemas.errors import InputError, LockedError
from schemas.storage.layout import Layout
from schemas.storage.locking import lock_owner, writing

HOLD = """
import sys, time
from pathlib import Path
from schemas.storage.layout import Layout
from schemas.storage.locking import writing
with writing(Layout(Path(sys.argv[1])), "embed"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_writers_and_a_dead_owner(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        started = time.monotonic()
        with pytest.raises(LockedError) as caught, writing(layout, "import"):
            pass
        assert time.monotonic() - started < 1.0
        assert f"embed, process {holder.pid}" in str(caught.value)
        assert "embed" in (lock_owner(layout) or "")
        holder.send_signal(signal.SIGKILL)
    with writing(layout, "import"):
        assert lock_owner(layout) is not None
    assert lock_owner(layout) is None


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError), writing(Layout(tmp_path / "file" / "root"), "import"):
        pass
