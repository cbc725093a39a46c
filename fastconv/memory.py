"""What calls have settled is remembered, until a choice would be another one."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from .settings import Around, around

PLAN_CACHE_SIZE = 32
"""Problems whose plans the functional calls keep: more than the layers of most networks, with workspaces of a few MB each."""

Settled = TypeVar("Settled")


def remembered(settle: Callable[..., Settled]) -> Callable[..., Settled]:
    """``settle``, called once for the same arguments, and its last results kept; the first argument must be ``around()``.

    What a call can know from shapes and dtypes alone, it settles in such a function: the checks, the problem, the kernel, the
    plans.  Arguments are compared as they are, and their types, so that 1.0 is not taken for 1; that is quick for shapes, and
    far from it for a problem.
    """
    kept = lru_cache(PLAN_CACHE_SIZE, typed=True)(settle)
    _memories.append(kept.cache_clear)

    def recall(*arguments: Any) -> Settled:
        try:
            return kept(*arguments)
        except TypeError:  # what cannot be compared is no right argument: ``settle`` finds out which
            return settle(*arguments)

    return recall


def at_hand(settle: Callable[..., Settled]) -> Callable[..., Settled]:
    """``settle``, a remembered function, of shapes, dtypes and words: one look-up, as around the last call.

    They are compared by value alone, which is quicker still, and would take 1.0 for 1.  ``around()`` is put before them.
    """
    last: tuple[Around, dict[tuple[Any, ...], Settled]] = around(), {}

    def recall(*arguments: Any) -> Settled:
        nonlocal last
        now, (before, found) = around(), last
        if now == before:
            try:
                return found[arguments]
            except (KeyError, TypeError):  # TypeError: what cannot be compared is no right argument
                pass
        settled = settle(now, *arguments)
        if now != before or len(found) >= PLAN_CACHE_SIZE:
            last = now, {arguments: settled}
        else:
            found[arguments] = settled
        return settled

    def forget() -> None:
        nonlocal last
        last = last[0], {}

    _memories.append(forget)
    return recall


_memories: list[Callable[[], None]] = []
"""How to forget what each of them has settled."""


def forget_choices() -> None:
    """Choose anew for every problem: the table of measured winners has changed."""
    for forget in _memories:
        forget()
