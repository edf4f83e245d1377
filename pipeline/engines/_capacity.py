"""How many workers a process may have: by the cores and the memory of its machine, and of its container."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MEMORY_PER_WORKER = 1 << 29
"""Bytes that a worker takes at most where it opens ordinary pictures, its own packages included."""
SYSTEM = Path("/")
"""Where the system says what it has."""


def capacity(memory_each: int = MEMORY_PER_WORKER) -> int:
    """How many workers this process may have: one per core, as long as memory is there for all of them."""
    cores, memory = _cores(), _free_memory()
    return cores if memory is None else max(1, min(cores, memory // memory_each))


def _cores() -> int:
    """Cores that this process may use, by its affinity and by the quotas of its container, whichever are fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _control_groups():
        with suppress(OSError, ValueError):  # "max" where there is no limit
            quota, period = map(int, (group / "cpu.max").read_text(encoding="ascii").split())
            cores = min(cores, max(1, quota // period))
    return cores


def _free_memory() -> int | None:
    """Bytes that are free on this machine or in this container, whichever has less; None where nothing says so."""
    free = []
    with suppress(OSError, ValueError, StopIteration):
        lines = (SYSTEM / "proc/meminfo").read_text(encoding="ascii").splitlines()
        free.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    for group in _control_groups():
        with suppress(OSError, ValueError):
            limit, used = (int((group / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
            free.append(max(limit - used, 0))
    return min(free, default=None)


def _control_groups() -> list[Path]:
    """Folders of the control groups (Linux, version 2) that this process is in, its own first: each may have limits."""
    root = SYSTEM / "sys/fs/cgroup"
    with suppress(OSError, StopIteration):
        lines = (SYSTEM / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        own = next(line for line in lines if line.startswith("0::")).removeprefix("0::").strip("/")
        return [root / part for part in (Path(own), *Path(own).parents)] if own else [root]
    return []
