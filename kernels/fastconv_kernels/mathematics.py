"""e**x and its kin for kernel bodies, in the precision of the argument.

For float64 they are the C library's.  Its float32 functions cannot be vectorised, and float64 ones would halve the lanes, so
that float32 has its own: a few multiplications, no branch, errors below two units in the last place (tanh: three, the
normal probability: sixteen).

Sources: the reduction x = n ln 2 + r and the polynomial of e**x are those of Moshier's Cephes (expf); the normal probability
has the fit of erfc of Press et al., "Numerical Recipes in C", 1992, section 6.2, with the square in two parts as in fdlibm.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

LOG2_E = np.float32(1.44269504)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # the high part times n is exact
LEAST, MOST = np.float32(-104), np.float32(89)  # beyond: 0 and infinity
POLYNOMIAL = tuple(
    np.float32(c)
    for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
ERFC = tuple(
    np.float32(c)
    for c in (
        0.17087277,
        -0.82215223,
        1.48851587,
        -1.13520398,
        0.27886807,
        -0.18628806,
        0.09678418,
        0.37409196,
        1.00002368,
        -1.26551223,
    )
)
ROOT_HALF, FARTHEST = np.float32(0.70710678), np.float32(20)  # beyond, nothing is left of a normal distribution
ONE, TWO, HALF = np.float32(1), np.float32(2), np.float32(0.5)


def _reduced(x):
    """(p, a, b) with e**x = (1 + p) * a * b, a and b powers of two: their product alone may overflow or vanish too early."""
    x = LEAST if x < LEAST else MOST if x > MOST else x  # NaN stays
    n = np.floor(x * LOG2_E + HALF)
    r = x - n * LN2_HIGH - n * LN2_LOW
    c0, c1, c2, c3, c4, c5 = POLYNOMIAL
    p = ((((c0 * r + c1) * r + c2) * r + c3) * r + c4) * r + c5
    whole = np.int32(n if n == n else ONE)
    half = np.int32(whole >> 1)
    return p * (r * r) + r, _power_of_two(half), _power_of_two(np.int32(whole - half))


def _power_of_two(n):
    """2**n, from its bits."""
    return np.int32(np.int32(n + 127) << 23).view(np.float32)


def _exp_single(x):
    p, a, b = _reduced(x)
    return (ONE + p) * a * b


def _expm1_single(x):
    p, a, b = _reduced(x)
    return (p * a + (a - ONE / b)) * b


def _tanh_single(x):
    e = expm1(-TWO * abs(x))  # in (-1, 0]: nothing overflows
    return math.copysign(-e / (e + TWO), x)


def _probability_single(x):
    z = FARTHEST if abs(x) > FARTHEST else abs(x)  # NaN stays
    t = ONE / (ONE + HALF * ROOT_HALF * z)
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 = ERFC
    p = ((((((((c0 * t + c1) * t + c2) * t + c3) * t + c4) * t + c5) * t + c6) * t + c7) * t + c8) * t + c9
    high = np.int32(np.float32(z).view(np.int32) & -4096).view(np.float32)  # its square is exact
    tail = HALF * t * exp(-HALF * high * high) * exp(HALF * (high - z) * (high + z) + p)
    return tail if x < np.float32(0) else ONE - tail


def exp(x):
    """e**x"""
    return np.exp(x)


def expm1(x):
    """e**x - 1, without cancellation near 0"""
    return np.expm1(x)


def tanh(x):
    """(e**x - e**-x) / (e**x + e**-x)"""
    return np.tanh(x)


def ordinal(x):
    """An integer of as many bits that is larger where ``x`` is: of integers a processor has maxima for whole vectors."""
    return _flipped(x.view(np.int32 if x.dtype == np.float32 else np.int64))


def of_ordinal(n):
    """The number whose ``ordinal`` is ``n``."""
    return _flipped(n).view(np.float32 if n.dtype == np.int32 else np.float64)


def _flipped(bits):
    """The bits of a number, those after the sign flipped if it is negative."""
    signs = bits >> (8 * bits.itemsize - 1)
    return bits ^ (signs & np.iinfo(bits.dtype).max)


def normal_probability(x):
    """How likely a standard normal variable is at most x, without cancellation"""
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


# A product and the sum it goes into become one instruction, which rounds once: more accurate, and e**x takes three quarters.
_INLINED = {"forceinline": True, "error_model": "numpy", "fastmath": {"contract"}}


@overload(_reduced, jit_options=_INLINED)
def _reduced_compiled(x):
    return _reduced


@overload(_power_of_two, jit_options=_INLINED)
def _power_of_two_compiled(n):
    return _power_of_two


@overload(exp, jit_options=_INLINED)
def _exp_compiled(x):
    return _exp_single if x == types.float32 else lambda x: math.exp(x)


@overload(expm1, jit_options=_INLINED)
def _expm1_compiled(x):
    return _expm1_single if x == types.float32 else lambda x: math.expm1(x)


@overload(tanh, jit_options=_INLINED)
def _tanh_compiled(x):
    return _tanh_single if x == types.float32 else lambda x: math.tanh(x)


@overload(_flipped, jit_options=_INLINED)
def _flipped_compiled(bits):
    if bits == types.int32:
        return lambda bits: np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF))
    return lambda bits: np.int64(bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF))


@overload(ordinal, jit_options=_INLINED)
def _ordinal_compiled(x):
    if x == types.float32:
        return lambda x: _flipped(np.float32(x).view(np.int32))
    return lambda x: _flipped(np.float64(x).view(np.int64))


@overload(of_ordinal, jit_options=_INLINED)
def _of_ordinal_compiled(n):
    if n == types.int32:
        return lambda n: np.int32(_flipped(n)).view(np.float32)
    return lambda n: np.int64(_flipped(n)).view(np.float64)


@overload(normal_probability, jit_options=_INLINED)
def _probability_compiled(x):
    return _probability_single if x == types.float32 else lambda x: 0.5 * math.erfc(-x * math.sqrt(0.5))
