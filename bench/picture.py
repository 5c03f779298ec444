"""The README's picture: the top of the demo's gallery, taken by headless Chromium.

`make picture`, after `make demo`; needs the program `chromium` on the PATH.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH_PX, HEIGHT_PX = 1240, 1420
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip


def main(gallery: Path, out: Path) -> int:
    """Write a screenshot as a palette PNG, which is a third of the size of a full one."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [
            "chromium", *FLAGS, f"--user-data-dir={folder}/profile", f"--screenshot={shot}",
            f"--window-size={WIDTH_PX},{HEIGHT_PX}", gallery.resolve().as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        image = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB")
    image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(out, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
