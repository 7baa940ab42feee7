"""Numbers the network calls of one evaluation."""

from __future__ import annotations

import threading
from collections.abc import Hashable


class Ordinals:
    """Tells calls with the same key apart by their order, also where threads make them at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[Hashable, int] = {}

    def start(self) -> None:
        """Begin an evaluation."""
        with self._lock:
            self._next.clear()

    def numbered(self, key: Hashable) -> tuple[Hashable, int]:
        """The key with the number of this call among those of the same key."""
        with self._lock:
            number = self._next.get(key, 0)
            self._next[key] = number + 1
        return key, number
