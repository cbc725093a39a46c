"""Words for integers: 32 bits, where Numba's own arithmetic would take 64.

Source: NVIDIA, PTX ISA 9.0; each word names its section.
"""

from .asm import INTEGER, results, word


@word("div.u32 {quotient}, {a}, {b};", pure=True, quotient=results(1), a=INTEGER, b=INTEGER)
def divide(quotient, a, b):
    """a // b of unsigned 32-bit integers; Numba's own ``//`` is a call in 64 bits.  (*div*)"""
    assert 0 <= a < 2**32
    assert 0 < b < 2**32
    quotient[0] = a // b


@word("{{ .reg .u32 one; mov.u32 one, %nctaid.z; mul.lo.u32 {out}, {value}, one; }}", pure=True, out=results(1), value=INTEGER)
def hide(out, value):
    """The same number, of which no compiler knows anything: a loop that it bounds stays a loop.

    It is multiplied by the grid's extent along z, which is 1 in every launch of this package.  (*%nctaid*)
    """
    out[0] = value
