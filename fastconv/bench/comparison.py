"""Two sessions of the same cases: what became slower by more than the noise of both.

The noise of a time is how much the samples differ that were taken in turn with the others'.  Times are compared in units of
the machine's speed as it was measured beside them, so that a clock that runs slower today is no regression.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastconv.errors import ArgumentError

CERTAIN = 2.0
"""How many times the noise of both sessions together a change has to be."""
RESOLUTION = 0.05
"""Changes up to this are none: alignment, page colouring and the order of the cases alone make them."""


@dataclass(frozen=True)
class Change:
    """One of our contestants in one case.

    Attributes
    ----------
    name : str
        Suite, threads, case and contestant.
    ratio : float
        The second time over the first, each relative to the machine's speed.
    noise : float
        By how much of itself the ratio may be off.
    """

    name: str
    ratio: float
    noise: float

    @property
    def slower(self) -> bool:
        return self.ratio > 1 + self._certain

    @property
    def faster(self) -> bool:
        return 1 / self.ratio > 1 + self._certain

    @property
    def _certain(self) -> float:
        return RESOLUTION + CERTAIN * self.noise


def read(path: str) -> list[dict[str, Any]]:
    """The rows of a session.

    Raises
    ------
    ArgumentError
        The file cannot be read, or is not what ``fastconv bench --json`` writes.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["rows"]
        for row in rows:
            row["suite"], row["threads"], row["case"], row["seconds"], row["spread"]
    except OSError as error:
        raise ArgumentError(f"--compare: {path} cannot be read, {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"--compare: {path} is not what fastconv bench --json writes ({error!r})") from error
    return list(rows)


def compared(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Iterator[Change]:
    """What both have, in the order of the second."""
    earlier = {_key(row): row for row in before}
    for row in after:
        old = earlier.get(_key(row))
        for name, seconds in row["seconds"].items():
            if old is not None and name.startswith("fastconv") and name in old["seconds"]:
                ratio = seconds * _speed(row) / (old["seconds"][name] * _speed(old))
                noise = row["spread"][name] + old["spread"][name]
                yield Change(" · ".join(map(str, (*_key(row), name))), ratio, noise)


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["suite"], f"{row['threads']} thread{'s' * (row['threads'] != 1)}", row["case"]


def _speed(row: Mapping[str, Any]) -> float:
    """Of the machine, beside the row."""
    speed: float = row.get("peak") or row.get("copy") or 1.0
    return speed
