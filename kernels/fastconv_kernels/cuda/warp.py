"""Words for the 32 lanes of a warp: what one knows, another can have without memory.

Source: NVIDIA, PTX ISA 9.0; each word names its section.
"""

from . import lanes
from .asm import INTEGER, registers, results, word
from .build import device
from .memory import at
from .unrolling import unroll

LANES = lanes.LANES


@word("shfl.sync.bfly.b32 {out}, {value}, {distance}, 31, 0xffffffff;", out=results(1), value=registers(1), distance=INTEGER)
def exchange(out, value, distance):
    """out of lane l is the ``value`` of lane l ^ distance; all lanes must come.  (*shfl.sync*)"""
    out[0] = lanes.together("exchange", value[0], lambda operands: [operands[lane ^ distance] for lane in range(LANES)])


@device
def add_across(total, other):
    """total[0] of every lane = the sum of all lanes, the same bits in each; ``other`` is a register."""
    for i in unroll(5):
        exchange(at(other, 0), at(total, 0), 16 >> i)
        total[0] += other[0]


@device
def largest_across(best, other):
    """best[0] of every lane = the largest of all lanes; a NaN may be passed over."""
    for i in unroll(5):
        exchange(at(other, 0), at(best, 0), 16 >> i)
        best[0] = other[0] if other[0] > best[0] else best[0]
