"""Which pictures lie below a folder: what is left out, what could not be seen, and the names
of both as text."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from schemas.codepages import from_code_page
from schemas.errors import InputError
from schemas.storage.layout import is_content_address, own_folders

PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif"),
    *(".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".psd", ".tga"),
)
"""Files that claim to be pictures. Those of formats that are not decoded get a row that
says so; all other files are left alone."""

SYSTEM_FOLDERS = frozenset(
    (
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin", "@sharesnap"),  # Synology
        *("@appdata", "@appstore", "@database", "@docker", "@download", "@quarantine"),
        *("@synodrive", "@synoeastream", "@synoresource", "@cloudsync", "@synologycloudsync"),
        *("@recycle", "@recently-snapshot", "@__thumb"),  # QNAP
        *("$recycle.bin", "recycled", "recycler", "system volume information"),  # Windows
        *("found.000", "found.001", "found.002", "msocache", "$windows.~bt", "$winreagent"),
        *("__macosx", "network trash folder", "temporary items"),  # macOS
        *("lost+found", "~snapshot"),
    )
)
"""Folders that a NAS or a system makes for itself, in lower case. They are left out, as is
everything whose name begins with a dot (`.git`, `.Trash-1000`, `.thumbnails`, `._a.png`)."""


@dataclass
class Walk:
    """What lies below a folder; paths are text, relative to it.

    files     pictures as (path, text, readable names of the folders above), in a fixed order
    unseen    folders that could not be listed, with why
    links     links that end in no file; they are not followed, since they may form loops
    empty     folders with nothing in them, such as places where no disk is mounted
    left_out  how many folders of each name were passed over: of systems and of this program
    """

    root: Path
    files: list[tuple[Path, str, tuple[str, ...]]] = field(default_factory=list)
    unseen: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def walk(root: Path) -> Walk:
    """Find every picture file below a folder.

    Errors:  InputError when the folder itself cannot be listed
    """
    found = Walk(root)
    ahead: list[tuple[Path, tuple[str, ...], tuple[str, ...]]] = [(root, (), ())]
    while ahead:
        folder, place, names = ahead.pop()
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise InputError(f"{root} cannot be listed ({error.strerror})") from error
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):  # else it has just been removed
                found.unseen["/".join(place)] = error.strerror or str(error)
            continue
        if not entries and place:
            found.empty.append("/".join(place))
        below = []
        own = own_folders(folder, {entry.name for entry in entries})
        for entry in entries:
            is_picture = entry.name.lower().endswith(PICTURE_SUFFIXES)
            kind = _kind_of(entry, is_picture)
            if entry.name in own or _is_of_a_system(entry.name):
                if kind == "folder":
                    found.left_out[readable(entry.name)] += 1
                continue
            here = (*place, unique(entry.name))
            if kind == "folder":
                below.append((Path(entry.path), here, (*names, readable(entry.name))))
            elif kind == "link":
                found.links.append("/".join(here))
            if is_picture:
                path = Path(entry.path)
                if is_content_address(path):
                    found.left_out["pictures of a store"] += 1
                else:
                    found.files.append((path, "/".join(here), names))
        ahead.extend(reversed(below))
    return found


def _is_of_a_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def _kind_of(entry: os.DirEntry[str], is_picture: bool) -> str:
    """folder, link (where it ends in no file) or file. What a broken disk does not tell is taken
    for a folder, so that its pictures count as unseen."""
    is_link = False
    try:
        is_link = entry.is_symlink()
        if entry.is_dir(follow_symlinks=False):
            return "folder"
        return "link" if is_link and not (is_picture or entry.is_file()) else "file"
    except OSError:
        if is_picture:
            return "file"
        return "link" if is_link else "folder"


# --- Names: a file's name is bytes, and the catalog holds text.


def readable(name: str) -> str:
    """A file's name as text: UTF-8, else the code page that it is surely in, else its odd bytes
    as `\\xb1`.

    >>> readable(os.fsdecode("신의 탑".encode("cp949")))
    '신의 탑'
    """
    raw = os.fsencode(name)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    found = from_code_page(raw)
    if found is not None:
        return found[0]
    return raw.decode("utf-8", "backslashreplace")


def unique(name: str) -> str:
    """A readable name that no other file has: names that are no UTF-8 get a mark of their bytes
    before the ending, so that two spellings in two code pages stay two files."""
    raw, text = os.fsencode(name), readable(name)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        mark = hashlib.sha256(raw).hexdigest()[:6]
        stem, dot, ending = text.rpartition(".")
        return f"{stem}~{mark}.{ending}" if stem and dot else f"{text}~{mark}"
    return text


def unique_path(path: Path) -> str:
    """A path as text, each of its parts unique."""
    return "/".join(map(unique, str(path).split("/")))
