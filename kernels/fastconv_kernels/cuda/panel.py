"""An operand's slice in shared memory: a *panel*, ``length`` rows of A or columns of B by ``depth`` of K, in 32-bit words.

It lies in the order in which it comes, or in which the engine wants to read it:

    ALONG     a line for each row of A (column of B), K along the line
    ACROSS    a line for each k, the rows (columns) along the line

Words of a line are *swizzled*: moved within it by an exclusive or with the line's number, so that what a warp reads or writes
at once, one word of each of several lines, lies in 32 different banks, without the padding that would cost another line in
eight.  The engine chooses which bits: ``mask`` of the line's number, ``shift`` places up.

The memory that a panel is copied from has an order of its own: the threads of a block share in filling the panel so that they
read that memory in whole sectors, 16 bytes at a time where everything is aligned, else 4 bytes at a time, and only these can
turn a matrix from one order into the other on the way.  Which elements they are, a ``Source`` says: of a matrix, or of the
windows of a convolution.

Source: NVIDIA, CUTLASS, "Implicit GEMM: permuted shared memory layouts"; PTX ISA, "Asynchronous copy".
"""

from functools import cache
from typing import Any, NamedTuple

from .build import device
from .copies import copy_4_bytes, copy_16_bytes
from .integers import hide
from .memory import beyond, shared_at, source_at
from .unrolling import unroll

ALONG, ACROSS = "along", "across"


class Panel(NamedTuple):
    """The shape of a panel; ``pitch`` is the distance of two lines, all in words."""

    order: str
    length: int
    depth: int
    pitch: int
    mask: int = 0
    shift: int = 0

    @property
    def size(self):
        """Words of shared memory."""
        return self.pitch * (self.length if self.order == ALONG else self.depth)

    @property
    def periods(self):
        """How far apart rows, and k, must be for the swizzle to treat them alike."""
        lines = self.mask + 1
        return (lines, lines << self.shift) if self.order == ALONG else (lines << self.shift, lines)


class Fill(NamedTuple):
    """How the threads of a block share in filling a panel.

    Each copies ``width`` words at a time, from memory that runs in the order ``order``.  ``along`` and ``across`` are the
    places of the panel, along K and across it, that all threads fill at once; then they step on to the next.
    """

    order: str
    width: int
    along: int
    across: int

    def turns(self, panel):
        """How often each thread copies."""
        return panel.length // self.across * (panel.depth // self.along)


ABREAST = 8
"""Threads side by side along K: 4 bytes each are a whole sector of 32 bytes, 16 bytes each a line of the panel.

What a warp writes where it turns a matrix, 8 words of K for each of 4 rows, lies in 32 banks if lines begin 4 banks apart.
"""


def fill(panel, order, width, threads):
    """The ``Fill`` of a panel by ``threads`` threads from memory in ``order``, ``width`` words at a time."""
    if panel.order != order:
        width = 1
    across = min(panel.length, threads * width) if order == ACROSS else threads // ABREAST
    return Fill(order, width, threads * width // across, across)


class Source(NamedTuple):
    """Where an operand's elements are in memory; ``g`` is the geometry, ``state`` registers of the thread.

    ``begin(state, i, row, g)`` prepares the i-th row (column) of those that a thread copies, once;
    ``step(state, k, g)`` prepares for k; then
    ``find(state, i, row, k, g)`` is (the element's offset, whether it exists).

    ``registers`` numbers of ``state``, and ``row_registers`` for each row, are the source's own; they begin at 1.
    """

    registers: int
    row_registers: int
    begin: Any
    step: Any
    find: Any


@cache
def addresses(panel):
    """The function that finds an element: ``address(shared, slot, row, k, down, on)``, of row + down and k + on.

    ``down`` and ``on`` are constants of the source.  What of them the swizzle does not see is added at the end, where it
    becomes part of the instruction: elements that lie a multiple of its period apart share one computed address.
    """
    row_period, k_period = panel.periods

    @device
    def address(shared, slot, row, k, down, on):
        near_row, near_k = row + down % row_period, k + on % k_period
        far_row, far_k = down - down % row_period, on - on % k_period
        if panel.order == "along":
            word = near_row * panel.pitch + (near_k ^ ((near_row & panel.mask) << panel.shift))
            return beyond(shared_at(shared, slot + word), far_row * panel.pitch + far_k)
        else:  # noqa: RET505 - only one of the two is compiled
            word = near_k * panel.pitch + (near_row ^ ((near_k & panel.mask) << panel.shift))
            return beyond(shared_at(shared, slot + word), far_k * panel.pitch + far_row)

    return address


@cache
def shares(how):
    """The functions thread → the first row (column), and the first k, that it copies."""

    @device
    def first_row(thread):
        if how.order == "across":
            return thread * how.width % how.across
        else:  # noqa: RET505
            return thread * how.width // how.along

    @device
    def first_k(thread):
        if how.order == "across":
            return thread * how.width // how.across
        else:  # noqa: RET505
            return thread * how.width % how.along

    return first_row, first_k


@cache
def copies(width):
    """The function that starts the copy of ``width`` words to ``place``: from ``source``, or of zeros where nothing is."""

    @device
    def copy(place, memory, source, exists):
        if width == 4:
            copy_16_bytes(place, source_at(memory, source, exists), exists)
        else:
            copy_4_bytes(place, source_at(memory, source, exists), exists)

    return copy


MOST_WRITTEN_OUT = 8
"""Copies of 4 bytes that a thread has written out one behind the other: the addresses of more would fill its registers."""


def fillers(a, b, threads):
    """For A and B, each (panel, order in memory, width, source): the three things that ``filler`` makes."""
    hows = [fill(panel, order, width, threads) for panel, order, width, _ in (a, b)]
    narrow = sum(how.turns(panel) for how, (panel, *_) in zip(hows, (a, b), strict=True) if how.width == 1)
    return [
        filler(panel, how, source, how.width > 1 or narrow <= MOST_WRITTEN_OUT)
        for how, (panel, _, _, source) in zip(hows, (a, b), strict=True)
    ]


@cache
def filler(panel, how, source, written_out):
    """(registers, begin, copy): how a panel is filled from a source.

    ``begin(state, thread, first, g)`` prepares the rows (columns) from ``first`` on;
    ``copy(shared, slot, memory, state, thread, first, k0, g)`` starts copying them from k0 on, zeros where nothing is;
    ``written_out`` or in a loop over k.
    """
    address, start, (first_row, first_k) = addresses(panel), copies(how.width), shares(how)
    prepare, step, find = source.begin, source.step, source.find
    rows, steps = panel.length // how.across, panel.depth // how.along

    @device
    def begin(state, thread, first, g):
        for i in unroll(rows):
            prepare(state, i, first + first_row(thread) + i * how.across, g)

    @device
    def copy_at(shared, slot, memory, state, thread, first, k0, g, on):
        row, k = first_row(thread), first_k(thread)
        step(state, k0 + k + on, g)
        for i in unroll(rows):
            place, exists = find(state, i, first + row + i * how.across, k0 + k + on, g)
            start(address(shared, slot, row, k, i * how.across, on), memory, place, exists)

    @device
    def copy(shared, slot, memory, state, thread, first, k0, g):
        if written_out:
            for on in unroll(steps):
                copy_at(shared, slot, memory, state, thread, first, k0, g, on * how.along)
        else:
            hide(state, steps)
            for on in range(state[0]):
                copy_at(shared, slot, memory, state, thread, first, k0, g, on * how.along)

    return 1 + source.registers + rows * source.row_registers, begin, copy
