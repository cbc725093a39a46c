"""Checks of what a user writes into a layer, an optimizer or a call of ``fit``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError

Pair = tuple[int, int]


def integer(name: str, value: Any, least: int = 1) -> int:
    """``value`` if it is an integer of at least ``least``, else ``ArgumentError``."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{name}: expected an integer of at least {least}, got {value!r}")
    return int(value)


def pair(name: str, value: Any, least: int = 1) -> Pair:
    """(vertical, horizontal) from one integer for both or from two."""
    if isinstance(value, Sequence) and len(value) == 2:
        return integer(name, value[0], least), integer(name, value[1], least)
    if isinstance(value, Sequence):
        raise ArgumentError(f"{name}: expected an integer or two, got {value!r}")
    both = integer(name, value, least)
    return both, both


def number(name: str, value: Any, least: float = 0.0, below: float = np.inf) -> float:
    """``value`` if it is a number in [least, below), else ``ArgumentError``."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool) and least <= value < below:
        return float(value)
    interval = f"of at least {least:g}" if below == np.inf else f"in [{least:g}, {below:g})"
    raise ArgumentError(f"{name}: expected a finite number {interval}, got {value!r}")


def one_of(name: str, value: Any, names: Collection[str]) -> str:
    """``value`` if it is one of ``names``, else ``ArgumentError`` listing them."""
    if not isinstance(value, str) or value not in names:
        raise ArgumentError(f"{name}: expected one of {', '.join(names)}, got {value!r}")
    return value
