"""Walls around a process that runs SQL from strangers, best first; Linux only.

Each wall is tried and the ones that stand are told. A kernel or container that refuses one
still has the others, and DuckDB's own lock stands in any case:

    namespace  a user and network namespace of its own: no network at all, no privileges
    chroot     the tables' folder is the whole file system that it can name
    landlock   no path may be written, run or listed, no TCP port may be reached
    limits     memory, processor time, file size 0, no core dump

Source:  landlock(7), user_namespaces(7), setrlimit(2)
"""

from __future__ import annotations

import ctypes
import os
import resource
import threading
import time
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_RULE_PATH_BENEATH = 1
_READ_FILE = 1 << 2
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # rights that each ABI version knows
_TCP_RIGHTS = 0b11  # bind, connect; since ABI 4


def die_with_owner() -> None:
    """A worker whose owner was killed must not live on, not even in a long statement.

    (PR_SET_PDEATHSIG would also strike when only the thread that started it ends.)
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # no debugger, no /proc/<pid>/mem
    owner = os.getppid()

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="owner", daemon=True).start()


def leave_network() -> bool:
    """Move into a namespace without network and privileges; before the first thread starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def limit_resources(memory_bytes: int, cpu_s: int) -> None:
    """Hard limits that the kernel holds.

    `memory_bytes` counts what the process writes to beyond what it holds already.
    """
    held = _data_bytes()
    for what, most in (
        (resource.RLIMIT_DATA, held + memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        bounded = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bounded, bounded))


def _data_bytes() -> int:
    """Private writable memory now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def enter_chroot(folder: Path) -> bool:
    """Make a folder the root of the file system."""
    try:
        os.chroot(folder)
    except OSError:
        return False
    os.chdir("/")
    return True


def lock_files(readable: list[str]) -> bool:
    """Forbid every access to the file system but reading these files, and all TCP."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    rights = (1 << _FS_RIGHTS.get(version, 16)) - 1
    attributes = (ctypes.c_uint64 * 2)(rights, _TCP_RIGHTS if version >= 4 else 0)
    rules = libc.syscall(_LANDLOCK_CREATE, attributes, 16 if version >= 4 else 8, 0)
    if rules < 0:
        return False
    try:
        for file in readable:
            handle = os.open(file, os.O_PATH | os.O_CLOEXEC)
            try:
                rule = ctypes.create_string_buffer(
                    _READ_FILE.to_bytes(8, "little") + handle.to_bytes(4, "little"), 12
                )
                if libc.syscall(_LANDLOCK_ADD, rules, _RULE_PATH_BENEATH, rule, 0) != 0:
                    return False
            finally:
                os.close(handle)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)
