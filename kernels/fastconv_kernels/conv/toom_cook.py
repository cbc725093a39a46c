"""The matrices of Winograd's short convolutions, from their interpolation points.

F(m, r) computes m outputs of a correlation with r taps from n = m + r - 1 inputs with n products instead of m·r:

    y = Aᵀ [ (G g) ⊙ (Bᵀ d) ]          y[i] = sum over j of d[i + j] g[j]

It is multiplication of polynomials by evaluation and interpolation (Toom, Cook), transposed.  Outputs and taps are evaluated
at n - 1 finite points p and at infinity; what remains, the interpolation, falls to the inputs.  In two dimensions the same
matrices are applied from both sides: Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A.

Any distinct points give the right result in exact arithmetic; rounding errors grow with the size of the matrices' entries.
With ±1/√2 and ±√2 they are half of those with the integers ±1 and ±2 that are found in most texts.

Sources: Winograd, "Arithmetic Complexity of Computations", 1980; Lavin & Gray, "Fast Algorithms for Convolutional Neural
Networks", 2016; Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for DNNs", 2020.
"""

from typing import NamedTuple

import numpy as np

UNITS = (0.0, 1.0, -1.0)
SQRT2 = (0.0, 2**-0.5, -(2**-0.5), 2**0.5, -(2**0.5))
HALVES = (0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0)

POINTS = {(2, 3): UNITS, (4, 3): SQRT2, (2, 5): SQRT2, (4, 5): HALVES}
"""(outputs, taps) → the finite points of F(outputs, taps) and of F(taps, outputs).

Seven are those of the least error on normal data, of all {0, ±a, ±b, ±c} with a, b, c among 19 numbers from 0.4 to 2.25.
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
