"""Words for copies from global to shared memory, past the registers: they run on while the thread goes on.

A thread closes a *group* of the copies that it has started, and later waits until few enough of its groups are under way.
Its own copies are then there; those of other threads are there behind the next ``meet_block``.

Source: NVIDIA, PTX ISA 9.0, "Asynchronous copy", for sm_80 and later; each word names its section.
"""

import numpy as np

from . import lanes
from .asm import ADDRESS, INTEGER, LITERAL, word
from .memory import is_aligned

COPY = (
    "{{{{ .reg .pred nothing; setp.eq.u32 nothing, {{exists}}, 0; "
    "cp.async.{cache}.shared.global [{{place}}], [{{source}}], {size}, nothing; }}}}"
)


@word(COPY.format(cache="cg", size=16), place=ADDRESS, source=ADDRESS, exists=INTEGER)
def copy_16_bytes(place, source, exists):
    """Start copying 16 bytes, or zeros to their place if ``exists`` is 0; past level 1.  (*cp.async* with *ignore-src*)"""
    start_copy(place, source, exists, 16)


@word(COPY.format(cache="ca", size=4), place=ADDRESS, source=ADDRESS, exists=INTEGER)
def copy_4_bytes(place, source, exists):
    """Start copying 4 bytes, or a zero to their place if ``exists`` is 0: for what is not aligned.  (*cp.async*)"""
    start_copy(place, source, exists, 4)


def start_copy(place, source, exists, size):
    """The twin of both."""
    place = place.view(np.uint8)[:size]
    assert is_aligned(place, size)
    if exists:
        source = source.view(np.uint8)[:size]
        assert is_aligned(source, size)
        assert source.size == size
        lanes.copy_later(place, source.copy())
    else:
        lanes.copy_later(place, np.zeros(size, np.uint8))


@word("cp.async.commit_group;")
def commit_copies():
    """Close the group of the copies that this thread has started since the last.  (*cp.async.commit_group*)"""
    lanes.close_group()


@word("fence.proxy.async.shared::cta;")
def show_copies():
    """Let the units that multiply boxes see what this thread's copies have written; since sm_90.  (*fence.proxy.async*)"""


@word("cp.async.wait_group {pending};", pending=LITERAL)
def wait_copies(pending):
    """Wait until at most ``pending`` of this thread's groups are under way.  (*cp.async.wait_group*)"""
    lanes.arrive(pending)
