"""Virtual time: an event loop whose clock jumps to the next timer when nothing is left to do now.

Hours pass in milliseconds, nothing sleeps, and the same run takes the same turns every time. The loop is asyncio's own;
only its selector and its clock are not: nothing outside the process can wake it, so a loop that waits without a timer
would wait for ever, and says so instead.
"""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

EPOCH_MS = 1_790_000_000_000


class StandsStill(Exception):
    """Everything waits and no timer is set: nothing would ever happen again."""


class _Jumping(selectors.BaseSelector):
    """Selects nothing, and lets the time pass that it was given to wait."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, descriptor, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StandsStill
        if timeout > 0:
            self.now_s += timeout
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """See the module. `time()` starts at 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    def now_ms(self) -> int:
        """The same moment on the wall's clock; a timer that is due at a full millisecond finds it reached."""
        return EPOCH_MS + int(self._jumping.now_s * 1000 + 1e-6)
