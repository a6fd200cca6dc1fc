"""The seams to the world: clock and randomness. Only this module may touch `time`, `random`, `uuid4` or `os.urandom`.

Everything that needs the time or a random number takes a `World`, so that a test can hand it a virtual one.
"""

import os
import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class World(Protocol):
    """What the hub asks of the world."""

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds since 1970, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def random(self) -> float:
        """A number in [0, 1)."""
        ...

    def uuids(self, count: int) -> list[str]:
        """`count` fresh UUIDv4 texts."""
        ...

    def token(self, size: int) -> bytes:
        """`size` unpredictable bytes."""
        ...


_VERSION_4 = bytes(byte & 0x0F | 0x40 for byte in range(256))
_RFC_VARIANT = bytes(byte & 0x3F | 0x80 for byte in range(256))


class RealWorld:
    """The machine's own clock and randomness."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.perf_counter()

    def random(self) -> float:
        return random.random()

    def uuids(self, count: int) -> list[str]:
        # One urandom call a batch: 0.5 µs an id against 2.8 for uuid.uuid4.
        raw = bytearray(os.urandom(16 * count))
        raw[6::16] = raw[6::16].translate(_VERSION_4)
        raw[8::16] = raw[8::16].translate(_RFC_VARIANT)
        h = raw.hex()
        return [
            f"{h[i : i + 8]}-{h[i + 8 : i + 12]}-{h[i + 12 : i + 16]}-{h[i + 16 : i + 20]}-{h[i + 20 : i + 32]}"
            for i in range(0, 32 * count, 32)
        ]

    def token(self, size: int) -> bytes:
        return os.urandom(size)


def pause(seconds: float) -> None:
    """Stop the whole thread: for programs without an event loop, such as the command line."""
    time.sleep(seconds)


def uuid5(namespace: str, name: str) -> str:
    """A UUID that is the same for the same names."""
    return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, f"crossbus:{namespace}"), name))


def stream(seed: str) -> Callable[[], float]:
    """Numbers in [0, 1), the same ones for the same seed."""
    return random.Random(seed).random


def iso_seconds(ms: int) -> str:
    """`2026-11-23T10:00:00Z`: the envelope's form of time."""
    return _iso(ms // 1000)


@lru_cache(maxsize=1024)
def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_ms(ms: int) -> str:
    """`2026-11-23T10:00:00.123Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"
