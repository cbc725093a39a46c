"""How large the caches are, and how much is copied to find out how fast each is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastconv.functional.machine import most_level3

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
"""Where Linux describes the first core's caches."""
UNKNOWN = {2: (1 << 20, 1), 3: (32 << 20, 8)}
"""Level → (bytes, cores that share it), where the system does not say."""
LEAST_IN_MEMORY = 128 << 20
"""Bytes copied in memory at least, by all threads together."""


@dataclass(frozen=True)
class Place:
    """A cache, or memory, as the threads of a measurement have it.

    Attributes
    ----------
    name : str
    capacity : int or None
        Bytes that all threads together have there; None: no limit.
    copied : int
        Bytes that each thread copies to measure it, and as many that it writes, by where both are found again.
    """

    name: str
    capacity: int | None
    copied: int


@cache
def places(threads: int) -> tuple[Place, ...]:
    """Innermost first.  What is copied fills half of a cache, and is too much for the one inside it."""
    (second, _), (third, shared) = _cache(2), _cache(3)
    own, common = second * threads, min(third, most_level3()) * -(-threads // shared)
    found = [Place("L2", own, second // 4)]
    if common // threads > 2 * second:
        found.append(Place("L3", common, common // threads // 4))
    outermost = found[-1].capacity or 0
    return (*found, Place("memory", None, max(LEAST_IN_MEMORY, 2 * outermost) // threads))


@cache
def _cache(level: int) -> tuple[int, int]:
    """(bytes, cores that share it) of a level."""
    for index in CACHES.glob("index*"):
        try:
            said = {name: (index / name).read_text().strip() for name in ("level", "type", "size", "shared_cpu_list")}
            if int(said["level"]) == level and said["type"] != "Instruction":
                return int(said["size"].removesuffix("K")) << 10, _cores(said["shared_cpu_list"])
        except (OSError, ValueError):
            continue
    return UNKNOWN[level]


def _cores(ranges: str) -> int:
    """How many cores a list such as "0-7,16-23" names."""
    bounds = [[int(end) for end in each.split("-")] for each in ranges.split(",")]
    return sum(each[-1] - each[0] + 1 for each in bounds)
