"""Two sessions of the same cases: what became slower by more than the noise of both.

The noise of a time is how much the samples differ that were taken in turn with the others'.  Times are compared in units of
the machine's speed as it was measured beside them, so that a clock that runs slower today is no regression.

One problem's time also depends on where its arrays happen to lie, for as long as a session lasts, which no samples of that
session tell.  So the verdict is on kernels: one has become slower if it has on most of what it was measured on.

Rows that the guard has called disturbed, in either session, are not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, median_high, median_low
from typing import Any

from fastconv.errors import ArgumentError

RESOLUTION = 0.05
"""Changes up to this are none: alignment, page colouring and the order of the cases alone make them."""
PLACEMENT = 0.4
"""A change of one problem's time up to this is none by itself: up to 1.32 was seen between sessions of the same tree."""


@dataclass(frozen=True)
class Change:
    """A kernel, or one of our contestants in one case.

    Attributes
    ----------
    name : str
        Suite, threads, and the kernel, or the case and the contestant.
    kernel : str
        What computes it.
    ratios : tuple of float
        The second time over the first, each relative to the machine's speed: of the medians, and of the shortest samples.
        What has changed shows in both.
    noise : float
        By how much of itself a ratio may be off.
    whole : bool
        Whether it is of a kernel, on all that it was measured on.
    """

    name: str
    kernel: str
    ratios: tuple[float, ...]
    noise: float
    whole: bool = False

    @property
    def slower(self) -> bool:
        return min(self.ratios) > 1 + self._doubtful

    @property
    def faster(self) -> bool:
        return 1 / max(self.ratios) > 1 + self._doubtful

    @property
    def _doubtful(self) -> float:
        return (RESOLUTION if self.whole else PLACEMENT) + self.noise


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


def undisturbed(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Both without the rows that were disturbed in either."""
    disturbed = {_key(row) for row in (*before, *after) if "disturbed" in row}
    return [[row for row in rows if _key(row) not in disturbed] for rows in (before, after)]


def compared(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[Change]:
    """The kernels that both have, and then what they were measured on, in the order of the second."""
    single = list(_of_cases(before, after))
    return [*_of_kernels(single), *single]


def _of_cases(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Iterator[Change]:
    earlier = {_key(row): row for row in before}
    for row in after:
        old = earlier.get(_key(row))
        for name in row["seconds"]:
            if old is not None and name.startswith("fastconv") and name in old["seconds"]:
                faster = _speed(row) / _speed(old)
                ratios = tuple(faster * _of(row, kind)[name] / _of(old, kind)[name] for kind in ("seconds", "least"))
                kernel = " · ".join([*_key(row)[:2], row.get("kernels", {}).get(name) or f"{row['case']} · {name}"])
                noise = row["spread"][name] + old["spread"][name]
                yield Change(" · ".join((*_key(row), name)), kernel, ratios, noise)


def _of_kernels(single: Iterable[Change]) -> Iterator[Change]:
    """Of every kernel the middle of its changes, towards none where there is no middle one."""
    found: dict[str, list[Change]] = {}
    for change in single:
        found.setdefault(change.kernel, []).append(change)
    for kernel, own in found.items():
        least, most = median_low([min(each.ratios) for each in own]), median_high([max(each.ratios) for each in own])
        yield Change(kernel, kernel, (least, most), median(each.noise for each in own), True)


def _of(row: Mapping[str, Any], kind: str) -> Mapping[str, float]:
    """Medians or shortest samples."""
    times: Mapping[str, float] = row.get(kind) or row["seconds"]
    return times


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["suite"], f"{row['threads']} thread{'s' * (row['threads'] != 1)}", row["case"]


def _speed(row: Mapping[str, Any]) -> float:
    """Of the machine, beside the row."""
    speed: float = row.get("peak") or row.get("copy") or 1.0
    return speed
