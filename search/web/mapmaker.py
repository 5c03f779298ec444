"""Has maps drawn: one at a time, in another process, kept as files."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from pathlib import Path

from schemas.storage.layout import Layout

LOG = logging.getLogger("toonsearch.web")
KEPT_MAPS = 3
DRAWING_S = 1800.0
ROOT = Path(__file__).resolve().parents[2]


class MapMaker:
    """Draws at most one map at a time, in another process, and keeps the files."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._task: asyncio.Task[None] | None = None
        self._failed: set[str] = set()

    def path(self, generation_id: str) -> Path:
        """Where the places of a generation's map are kept."""
        return self.layout.cache / f"map-{generation_id}.npy"

    def want(self, generation_id: str) -> str:
        """Whether the map is ready; begins to draw it otherwise: ready, drawing, failed."""
        if self.path(generation_id).exists():
            return "ready"
        if generation_id in self._failed:
            return "failed"
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._draw(generation_id))
        return "drawing"

    async def close(self) -> None:
        """Stop drawing."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _draw(self, generation_id: str) -> None:
        path = self.path(generation_id)
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "search.web.map_worker",
                str(self.layout.root), generation_id, str(path),
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1",
                     "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            async with asyncio.timeout(DRAWING_S):
                code = await process.wait()
            if code != 0:
                raise OSError(f"drawing ended with {code}")
            self._tidy(generation_id)
        except (OSError, TimeoutError) as error:
            self._failed.add(generation_id)
            LOG.warning("the map of %s cannot be drawn: %s", generation_id, error)
        finally:
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def _tidy(self, keep: str) -> None:
        """Remove maps of generations that are long gone."""
        kept = sorted(self.layout.cache.glob("map-*.npy"))[:-KEPT_MAPS]
        for path in kept:
            if path != self.path(keep):
                with contextlib.suppress(OSError):
                    path.unlink()
