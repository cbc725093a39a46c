"""The matrices of Winograd's short convolutions, from their interpolation points.

F(m, r) computes m outputs of a correlation with r taps from n = m + r - 1 inputs with n products instead of m·r:

    y = Aᵀ [ (G g) ⊙ (Bᵀ d) ]          y[i] = sum over j of d[i + j] g[j]

It is multiplication of polynomials by evaluation and interpolation (Toom, Cook), transposed.  Outputs and taps are evaluated
at n - 1 finite points p and at infinity; what remains, the interpolation, falls to the inputs.  In two dimensions the same
matrices are applied from both sides: Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A.

Any distinct points give the right result in exact arithmetic; rounding errors grow with the size of the matrices' entries.
With ±1/√2 and ±√2 they are half of those with the integers ±1 and ±2 that are found in most texts.

With a stride s the pixels are divided into s phases, and each meets every s-th tap: what was one correlation with r taps is
several with r / s, whose matrices stand side by side in one F (``strided``; ``dilated`` and ``transposed`` are its gradients).

Sources: Winograd, "Arithmetic Complexity of Computations", 1980; Lavin & Gray, "Fast Algorithms for Convolutional Neural
Networks", 2016; Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for DNNs", 2020.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np

UNITS = (0.0, 1.0, -1.0)
SQRT2 = (0.0, 2**-0.5, -(2**-0.5), 2**0.5, -(2**0.5))
HALVES = (0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0)

POINTS = {
    (2, 2): UNITS[:2],
    (2, 3): UNITS,
    (4, 2): (*SQRT2[:3], 2.0),
    (4, 3): SQRT2,
    (2, 5): SQRT2,
    (4, 4): HALVES[:-1],
    (4, 5): HALVES,
}
"""(outputs, taps) → the finite points of F(outputs, taps) and of F(taps, outputs).

Seven are those of the least error on normal data, of all {0, ±a, ±b, ±c} with a, b, c among 19 numbers from 0.4 to 2.25; of
four and six the last has no opposite.
"""

ROUNDING = 1e-12
"""Entries below this are zeros that their computation missed."""


class ToomCook(NamedTuple):
    """The three matrices: ``output`` Aᵀ (m, n), ``taps`` G (n, r), ``input`` Bᵀ (n, n)."""

    output: np.ndarray
    taps: np.ndarray
    input: np.ndarray


def toom_cook(outputs, taps, points):
    """The matrices of F(outputs, taps) for ``outputs + taps - 2`` finite points, and infinity as the last.

    >>> F = toom_cook(4, 3, SQRT2)
    >>> d, g = np.arange(6.0), np.array([1.0, 2.0, 3.0])
    >>> F.output @ ((F.taps @ g) * (F.input @ d))
    array([ 8., 14., 20., 26.])
    """
    p = np.array(points, np.float64)
    n = outputs + taps - 1
    if p.size != n - 1:
        raise ValueError(f"points: expected {n - 1} finite points for F({outputs}, {taps}), got {p.size}")
    others = [np.delete(p, i) for i in range(n - 1)]
    scale = np.array([np.prod(p[i] - others[i]) for i in range(n - 1)])
    at_infinity = np.eye(1, n, n - 1)
    output = np.vstack([np.vander(p, outputs, increasing=True), at_infinity[:, n - outputs :]]).T
    evaluated = np.vstack([np.vander(p, taps, increasing=True) / scale[:, None], at_infinity[:, n - taps :]])
    # Row i is the polynomial that vanishes at all points but i; the last vanishes at all of them.
    interpolated = np.vstack([[*np.poly(others[i])[::-1], 0.0] for i in range(n - 1)] + [np.poly(p)[::-1]])
    matrices = output, evaluated, interpolated
    return ToomCook(*(np.where(np.abs(matrix) < ROUNDING, 0.0, matrix) for matrix in matrices))


def short(outputs, taps):
    """F(outputs, taps) with the points of ``POINTS``; with a single tap or output there is nothing to save."""
    if taps == 1:
        return ToomCook(np.eye(outputs), np.ones((outputs, 1)), np.eye(outputs))
    if outputs == 1:
        return ToomCook(np.ones((1, taps)), np.eye(taps), np.eye(taps))
    return toom_cook(outputs, taps, POINTS.get((outputs, taps)) or POINTS[taps, outputs])


def strided(outputs, taps, stride):
    """y[i] = sum over j of d[stride * i + j] g[j]: a correlation of each phase of d with the taps of that phase, added up.

    All phases are evaluated at the points of the longest; one that lacks a tap is zero at infinity and leaves it out.  So
    their products at a point can be added up before ``output``, whose columns for them agree and are side by side.

    >>> F = strided(2, 3, 2)
    >>> F.output @ ((F.taps @ [1, 2, 3]) * (F.input @ [0, 1, 2, 3, 4]))
    array([ 8., 20.])
    >>> F.output
    array([[1., 1., 1., 1., 0.],
           [0., 0., 1., 1., 1.]])
    """
    longest, parts, places = short(outputs, -(-taps // stride)), [], []
    for of in phases(taps, stride):
        n = outputs + len(of) - 1
        some = ToomCook(longest.output[:, :n], longest.taps[:n, : len(of)], longest.input[:n, :n])
        parts.append((some, range(outputs), of, of.start))
        places += [(point, of.start) for point in range(n)]
    whole, order = assembled(parts, stride), sorted(range(len(places)), key=places.__getitem__)
    return ToomCook(whole.output[:, order], whole.taps[order], whole.input[order])


def dilated(outputs, taps, dilation):
    """y[j] = sum over i of d[j + dilation * i] g[i]: a correlation of each phase of d with all taps, for outputs of their own.

    >>> F = dilated(3, 2, 2)
    >>> F.output @ ((F.taps @ [1, 2]) * (F.input @ [0, 1, 2, 3, 4]))
    array([ 4.,  7., 10.])
    """
    every = range(taps)
    return assembled([(short(len(to), taps), to, every, to.start) for to in phases(outputs, dilation)], dilation)


def transposed(outputs, taps, stride, before):
    """(F, first): y[h] = sum over j of d[(h + before - j) / stride] g[j], over the j that leave no remainder.

    There are stride * outputs of them.  Each phase of y is a correlation with the taps of one phase, backwards: F takes g
    turned, g[taps - 1 - j] for g[j].  The pixels that it reads begin at ``first``.

    >>> F, first = transposed(2, 3, 2, 0)
    >>> F.output @ ((F.taps @ [3, 2, 1]) * (F.input @ [10, 20, 30])), first
    (array([50., 40., 90., 60.]), -1)
    """
    parts = []
    for h in range(stride):
        of = range(taps)[(h + before) % stride :: stride]
        turned = range(taps)[taps - 1 - of[-1] : taps - of[0] : stride]
        parts.append(
            (short(outputs, len(of)), range(h, stride * outputs, stride), turned, (h + before) // stride - len(of) + 1)
        )
    first = min(start for *_, start in parts)
    return assembled([(*part, start - first) for *part, start in parts], 1), first


def completion(matrices, outputs, taps, needed):
    """(pixels, lines, points): how a patch meets few points, of which only some outputs, taps and pixels count.

    outputs, taps, needed: the numbers of those that count.  Points that only others would need are left out.  Of the pixels
    that do not count ``lines`` are replaced, d[line] = pixels[line] @ d, so that as many points more get zeros: which points,
    the smallest errors decide; points: those that are left.

    >>> pixels, lines, points = completion(toom_cook(4, 3, SQRT2), range(2), range(3), range(4))
    >>> lines, points
    ((4,), (1, 2, 3, 4))
    >>> pixels[4].round(3)
    array([-1. ,  0. ,  2.5,  0. ,  0. ,  0. ])
    """
    counts = np.linalg.norm(matrices.output[outputs], axis=0) * np.linalg.norm(matrices.taps[:, taps], axis=1)
    used, (_, width) = np.flatnonzero(counts), matrices.input.shape
    lines = [pixel for pixel in range(width) if pixel not in needed and matrices.input[used, pixel].any()]
    found = []
    for zeros in combinations(used, len(lines)):
        rows, pixels = matrices.input[list(zeros)], np.eye(width)
        if np.linalg.matrix_rank(rows[:, lines]) == len(lines):
            pixels[lines] = 0
            pixels[np.ix_(lines, needed)] = -np.linalg.solve(rows[:, lines], rows[:, needed])
            error = round(counts @ np.linalg.norm(matrices.input @ pixels, axis=1), 9)
            found.append((error, zeros, pixels))
    if not found:
        return np.eye(width), (), tuple(used.tolist())
    _, zeros, pixels = min(found, key=lambda each: each[0])
    points = tuple(point for point in used.tolist() if point not in zeros)
    return np.where(np.abs(pixels) < ROUNDING, 0.0, pixels), tuple(lines), points


def phases(count, step):
    """range(count) by remainders: 0, step, … and 1, step + 1, … and so on."""
    return [range(first, count, step) for first in range(min(count, step))]


def assembled(parts, step):
    """One F of several; parts: (matrices, outputs, taps, first pixel) each, of pixels ``step`` apart."""
    points = sum(len(part.input) for part, *_ in parts)
    outputs, taps = (1 + max(part[side][-1] for part in parts) for side in (1, 2))
    inputs = 1 + max(start + step * (part.input.shape[1] - 1) for part, *_, start in parts)
    whole, row = ToomCook(np.zeros((outputs, points)), np.zeros((points, taps)), np.zeros((points, inputs))), 0
    for part, to, of, start in parts:
        rows = slice(row, row + len(part.input))
        whole.output[to, rows] = part.output
        whole.taps[rows, of] = part.taps
        whole.input[rows, start : start + step * part.input.shape[1] : step] = part.input
        row = rows.stop
    return whole
