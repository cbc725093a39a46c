"""How long a GPU works: events of the device before and after a call, its level-2 cache flushed in between calls.

In the simulator the host's clock stands in: the figures then mean nothing, and the rest of the program can be tried.

NOT YET RUN ON HARDWARE: written against cuda.core 1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

from fastconv.devices import simulated

FLUSHED_BYTES = 1 << 30
"""Many times the level-2 cache of an H200: while they are written, in a quarter of a millisecond, the host starts the call."""


class HostClock:
    """Seconds of the host, for a rehearsal."""

    def seconds(self, call: Callable[[], Any]) -> float:
        """Of one call."""
        start = perf_counter()
        call()
        return perf_counter() - start

    def works(self) -> bool:
        """Whether the device still computes."""
        return True

    @property
    def about(self) -> dict[str, Any]:
        return {"gpu": "simulated", "capability": None}


class DeviceClock(HostClock):
    """Seconds of device 0, between two events on its default stream."""

    def __init__(self) -> None:
        from cuda.core import Device, EventOptions

        self.device = Device(0)
        self.device.set_current()
        self.stream = self.device.default_stream
        timed = EventOptions(enable_timing=True)
        self.events = [self.device.create_event(options=timed) for _ in range(2)]
        self.trash = self.device.allocate(FLUSHED_BYTES, stream=self.stream)

    def seconds(self, call: Callable[[], Any]) -> float:
        """Of one call, without what it takes the host: that runs ahead while the cache is flushed."""
        before, after = self.events
        self.trash.fill(0, stream=self.stream)
        self.stream.record(before)
        call()
        self.stream.record(after)
        after.sync()
        return float(after - before) * 1e-3

    def works(self) -> bool:
        try:
            self.device.sync()
        except Exception:  # noqa: BLE001 - whatever it says, it does not
            return False
        return True

    @property
    def about(self) -> dict[str, Any]:
        return {"gpu": self.device.name, "capability": list(self.device.compute_capability)}


def clock() -> HostClock:
    """That of the device."""
    return HostClock() if simulated() else DeviceClock()


def interleaved(clock: HostClock, calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median seconds of each call over ``rounds`` in which every one has its turn, after one that warms up."""
    for call in calls.values():
        call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(clock.seconds(call))
    return {name: median(times) for name, times in found.items()}
