"""Trees of folders as disks hold them: names in all encodings, links, pipes, copies, what systems
leave behind, and what cannot be read."""

from __future__ import annotations

import contextlib
import io
import os
import random
import socket
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

ENDINGS = (".png", ".PNG", ".jpg", ".jpeg", ".webp", ".gif")
FAR_NS = (
    *(0, -11_644_473_600 * 10**9, -1, 16_725_225_600 * 10**9),  # 1970, 1601, 1969, 2500
    *(2**31 * 10**9, 253_402_300_800 * 10**9),  # 2038, 10000
)
SYSTEM = ("@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", "lost+found", ".git", ".Trash-1000")
WORDS = (
    *(
        "Kim",
        "kim",
        "ＫＩＭ",
        "My Art",
        "my-art",
        "신의 탑",
        "다른 탑",
        "김규삼",
        "ベルばら",
        "漫画",
    ),
    *("Müller", "Ñandú", "Дом", "이모지😀", "rtl\u202ename", "New\nLine", "ta\tb", "\x1b[31mred"),
    *("a'b", 'q"uote', "=cmd|x", "-dash", "--help", "~", "a~1f2e3d", "..a", "x" * 200, "[ab]*?"),
    *("100%41", "back\\slash", "folder.png", "a" * 63, " lead", "trail ", "COM1", "e\u0301"),
)
CODECS = ("utf-8", "utf-8", "utf-8", "cp949", "shift_jis", "latin-1", "gbk", "euc_jp", "utf-16-le")


@dataclass
class Tree:
    """A tree and what an import of it must find.

    files   paths that claim to be pictures and lie where they are listed
    sound   of them, those that hold a picture
    closed  folders that this user cannot list
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    sound: list[Path] = field(default_factory=list)
    closed: list[Path] = field(default_factory=list)

    def open(self) -> None:
        """Let everything be listed again, so that it can be removed."""
        for folder in self.closed:
            folder.chmod(0o755)


@cache
def picture(seed: int) -> bytes:
    """A small PNG that differs by seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def random_name(rng: random.Random) -> str:
    """A file's name as the system gives it, in one of many encodings and forms."""
    text = rng.choice(WORDS) + rng.choice(("", "", str(rng.randrange(30))))
    text = unicodedata.normalize(rng.choice(("NFC", "NFD")), text)
    raw = text.encode(rng.choice(CODECS), "ignore")
    if rng.random() < 0.05:
        raw = rng.randbytes(rng.randrange(1, 40))
    raw = raw.replace(b"/", b"_").replace(b"\0", b"_").lstrip(b".")[:200]
    return os.fsdecode(raw or b"x")


def random_tree(rng: random.Random, folder: Path) -> Tree:
    """Make a tree below a folder that is empty or does not exist."""
    tree = Tree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _fill(rng, tree, folder, 0)
    if not tree.sound:  # a source without a picture is refused
        _add(tree, folder / "last.png", picture(rng.randrange(40)))
    for path in [p for p in folder.rglob("*") if p.is_dir() and not p.is_symlink()]:
        if rng.random() < 0.03:
            _close(tree, path)
    return tree


def _fill(rng: random.Random, tree: Tree, folder: Path, depth: int) -> None:
    for _ in range(rng.randrange(1, 4)):
        if depth < 2 or rng.random() < 0.4 / depth:
            below = folder / random_name(rng)
            with contextlib.suppress(FileExistsError):
                below.mkdir()
                if below.suffix.lower() in ENDINGS:
                    tree.files.append(below)
                _fill(rng, tree, below, depth + 1)
    for _ in range(rng.randrange(4)):
        path = folder / (random_name(rng) + rng.choice(ENDINGS))
        if not path.exists() and not path.is_symlink():
            _random_file(rng, tree, path)
    if rng.random() < 0.15:
        system = folder / rng.choice(SYSTEM) / "kim"
        system.mkdir(parents=True)
        (system / "thumb.png").write_bytes(picture(0))
    if rng.random() < 0.1:
        (folder / rng.choice(("Thumbs.db", "._a.png", ".DS_Store", "notes.txt"))).touch()
    if rng.random() < 0.1:
        end = rng.choice((tree.root, folder, Path("nowhere"), Path("link")))
        with contextlib.suppress(FileExistsError):
            (folder / "link").symlink_to(end)


def _random_file(rng: random.Random, tree: Tree, path: Path) -> None:
    kind = rng.random()
    if kind < 0.75:
        _add(tree, path, picture(rng.randrange(40)))  # few, so that there are copies
        if rng.random() < 0.2:
            with contextlib.suppress(OSError, OverflowError):  # not on every file system
                os.utime(path, ns=(0, rng.choice(FAR_NS)))
        return
    tree.files.append(path)
    if kind < 0.80:
        path.write_bytes(rng.randbytes(rng.randrange(60)))
    elif kind < 0.84:
        path.symlink_to(rng.choice((path.name, "gone.png", "/dev/zero", "..")))
    elif kind < 0.88:
        os.mkfifo(path)
    elif kind < 0.91:
        with socket.socket(socket.AF_UNIX) as made:
            try:
                here = os.open(path.parent, os.O_RDONLY)
                made.bind(f"/proc/self/fd/{here}/s")  # a path of its own may be too long
                os.close(here)
                (path.parent / "s").rename(path)
            except OSError:
                path.touch()
    elif kind < 0.94:
        with path.open("wb") as handle:
            handle.truncate(1 << 40)  # takes no space
    elif kind < 0.97:
        path.touch()
    else:
        path.write_bytes(picture(rng.randrange(40))[: rng.randrange(20, 200)])


def _add(tree: Tree, path: Path, data: bytes) -> None:
    path.write_bytes(data)
    tree.files.append(path)
    tree.sound.append(path)


def _close(tree: Tree, folder: Path) -> None:
    """Make a folder one that cannot be listed; root lists it all the same."""
    if any(folder.is_relative_to(other) for other in tree.closed) or set(SYSTEM) & {*folder.parts}:
        return
    folder.chmod(0)
    try:
        next(folder.iterdir(), None)
        folder.chmod(0o755)
    except PermissionError:
        tree.closed.append(folder)
        inside = [path for path in tree.files if folder in path.parents]
        if len(inside) == len(tree.files):  # then nothing would be left
            tree.closed.pop().chmod(0o755)
            return
        tree.files = [path for path in tree.files if path not in inside]
        tree.sound = [path for path in tree.sound if path not in inside]
