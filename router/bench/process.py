"""What a process and its children use, from /proc: CPU seconds and anonymous memory.

Children count with their parent: a program may well let another process do its work. Reading /proc takes a fraction of
a millisecond, which the clients of a measurement can wait for, and the hub itself has no reason to.
"""

import os
from contextlib import suppress
from pathlib import Path

_PROCESSES_MAX = 1000


class Unreadable(OSError):
    """The process is gone, or the system does not tell."""


def cpu_s(pid: int) -> float:
    """User and system CPU seconds so far, of the process, its children, and their children that have ended."""
    return sum(sum(_times_s(member)) for member in _alive(pid))


def own_cpu_s(pid: int) -> float:
    """User and system CPU seconds of the process alone."""
    return _times_s(pid)[0]


def ended_children_cpu_s(pid: int) -> float:
    """User and system CPU seconds of the children that have ended."""
    return _times_s(pid)[1]


def anonymous_mb(pid: int) -> float:
    """Resident anonymous memory of the process and its children: files that are mapped are page cache, not counted."""
    return sum(_anonymous_mb(member) for member in _alive(pid))


def family(pid: int) -> list[int]:
    """The process and its living children, and theirs."""
    found = [pid]
    for member in found:
        if len(found) > _PROCESSES_MAX:
            break
        with suppress(OSError):
            for children in Path(f"/proc/{member}/task").glob("*/children"):
                with suppress(OSError):
                    found += [int(child) for child in children.read_text().split()]
    return found


def _alive(pid: int) -> list[int]:
    """As `family`; raises Unreadable where there is no such process."""
    _times_s(pid)
    alive = [pid]
    for member in family(pid)[1:]:
        with suppress(Unreadable):
            _times_s(member)
            alive.append(member)
    return alive


def _times_s(pid: int) -> tuple[float, float]:
    """The process's own CPU seconds, and those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = [int(field) for field in fields[11:15]]
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot read what process {pid} uses: {error}") from error
    per_s = os.sysconf("SC_CLK_TCK")
    return (ticks[0] + ticks[1]) / per_s, (ticks[2] + ticks[3]) / per_s


def _anonymous_mb(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError as error:
        raise Unreadable(f"cannot read what process {pid} uses: {error}") from error
    for line in text.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise Unreadable("this system does not report anonymous memory (RssAnon)")
