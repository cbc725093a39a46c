"""Maxout on the CPU: each thread has its images.

Where channels are last, the pieces of one lie beside each other.  LLVM makes vectors of them if it knows how many there are:
then a tuple of that length is passed for their number.
"""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import inlined, threaded
from ..cpu.elements import elements
from ..cpu.share import share, threads_for
from ..cpu.workspace import workspace
from ..problems import Maxout
from . import functions

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 15
"""Elements: fewer are computed sooner than a second thread starts."""

BLOCK = 1 << 10
"""Elements of each piece: what is known of them so far stays in the nearest cache from piece to piece."""

NARROW = 16
"""With fewer elements of a piece side by side, as where channels are last, they are taken one after the other."""

KNOWN = 8
"""Pieces beside each other, at most, of which vectors are made; every number is compiled by itself."""

larger = inlined(functions.larger)


@inlined
def largest(source, inner, pieces, first, end, best):
    """best[i] = the largest of the pieces' elements ``first + i``, NaN if one of them is."""
    for i in range(first, end):
        best[i - first] = source[i]
    for piece in range(1, pieces):
        for i in range(first, end):
            best[i - first] = larger(best[i - first], source[piece * inner + i])


@inlined
def give(source, inner, pieces, first, end, best, left, nothing, target):
    """Each gradient in ``left`` to the first piece that has the largest element, ``nothing`` to the others."""
    for piece in range(pieces):
        for i in range(first, end):
            value, most = source[piece * inner + i], best[i - first]
            remaining = left[i - first]
            wins = (value == most) | ((value != value) & (most != most))
            target[piece * inner + i] = remaining if wins else nothing
            left[i - first] = nothing if wins else remaining


@inlined
def largest_of(source, inner, pieces, i):
    """The largest of the pieces' elements ``i``, and which piece has it first."""
    value, winner = source[i], 0
    for piece in range(1, pieces):
        challenger = source[piece * inner + i]
        if value == value and (challenger > value or challenger != challenger):
            value, winner = challenger, piece
    return value, winner


@threaded
def maxout(x, out, channels, inner, pieces, threads):
    """out (channels, inner) from x (channels, pieces, inner); ``channels`` counts those of all images."""
    for thread in prange(threads):
        start, stop = share(thread, threads, channels)
        for channel in range(start, stop):
            source, best = elements(x, channel * pieces * inner), elements(out, channel * inner)
            if inner < NARROW:
                for i in range(inner):
                    best[i] = largest_of(source, inner, pieces, i)[0]
            else:
                for first in range(0, inner, BLOCK):
                    largest(source, inner, pieces, first, min(first + BLOCK, inner), best + first)


@threaded
def maxout_backward(gradient, x, out, buffers, channels, inner, pieces, threads):
    """out (channels, pieces, inner) from gradient (channels, inner); buffers: (threads, 2, BLOCK)."""
    for thread in prange(threads):
        start, stop = share(thread, threads, channels)
        best = elements(buffers, thread * 2 * BLOCK)
        left = elements(buffers, (thread * 2 + 1) * BLOCK)
        for channel in range(start, stop):
            source, target = elements(x, channel * pieces * inner), elements(out, channel * pieces * inner)
            given, nothing = elements(gradient, channel * inner), x.dtype.type(0)
            if inner < NARROW:
                for i in range(inner):
                    _, winner = largest_of(source, inner, pieces, i)
                    for piece in range(pieces):
                        target[piece * inner + i] = given[i] if piece == winner else nothing
            else:
                for first in range(0, inner, BLOCK):
                    end = min(first + BLOCK, inner)
                    largest(source, inner, pieces, first, end, best)
                    for i in range(first, end):
                        left[i - first] = given[i]
                    give(source, inner, pieces, first, end, best, left, nothing, target)


@inlined
def largest_beside(source, pieces, i):
    """The largest of pieces beside each other, the ``i``-th group of them."""
    best = source[i * len(pieces)]
    for piece in range(1, len(pieces)):
        best = larger(best, source[i * len(pieces) + piece])
    return best


@threaded
def maxout_beside(x, out, channels, pieces, threads):
    """out (channels,) from x (channels, len(pieces))."""
    for thread in prange(threads):
        start, stop = share(thread, threads, channels)
        source, best = elements(x, start * len(pieces)), elements(out, start)
        for i in range(stop - start):
            best[i] = largest_beside(source, pieces, i)


@threaded
def maxout_beside_backward(gradient, x, out, channels, pieces, threads):
    """out (channels, len(pieces)) from gradient (channels,)."""
    for thread in prange(threads):
        start, stop = share(thread, threads, channels)
        source, target = elements(x, start * len(pieces)), elements(out, start * len(pieces))
        given, nothing = elements(gradient, start), x.dtype.type(0)
        for i in range(stop - start):
            best, left = largest_beside(source, pieces, i), given[i]
            for piece in range(len(pieces)):
                value = source[i * len(pieces) + piece]
                wins = (value == best) | ((value != value) & (best != best))
                target[i * len(pieces) + piece] = left if wins else nothing
                left = nothing if wins else left


class _Maxout:
    workspace_bytes = 0

    def __init__(self, problem: Maxout, threads: int) -> None:
        self.problem = problem
        channels = problem.outer * problem.channels
        self.threads = threads_for(threads, channels * problem.inner * problem.pieces, GRAIN)
        self.sizes = channels, problem.inner, problem.pieces, self.threads
        self.beside = problem.inner == 1 and problem.pieces <= KNOWN
        self.numbers = channels, (0,) * problem.pieces, self.threads


class MaxoutForward(_Maxout):
    """``plan(x, out)``"""

    def __call__(self, x: Array, out: Array) -> Array:
        """Write the largest of each channel's pieces into ``out``."""
        if self.beside:
            maxout_beside(x.reshape(-1), out.reshape(-1), *self.numbers)
        else:
            maxout(x.reshape(-1), out.reshape(-1), *self.sizes)
        return out


class MaxoutBackwardInput(_Maxout):
    """``plan(grad_output, x, out)``"""

    def __init__(self, problem: Maxout, threads: int) -> None:
        super().__init__(problem, threads)
        self.buffers = workspace(self.threads, 2 * BLOCK, problem.dtype)
        self.workspace_bytes = self.buffers.nbytes

    def __call__(self, grad_output: Array, x: Array, out: Array) -> Array:
        """Write each gradient to the piece that was the first largest (NaN is larger than all), zeros to the others."""
        flat = grad_output.reshape(-1), x.reshape(-1), out.reshape(-1)
        if self.beside:
            maxout_beside_backward(*flat, *self.numbers)
        else:
            maxout_backward(*flat, self.buffers, *self.sizes)
        return out
