"""Changing layouts: the ranked tables, best first, the reference last.

``plan(x, out)`` of ``nchw_to_nhwc``: x (N, C, pixels), out (N, pixels, C); of ``nhwc_to_nchw`` the other way.
``plan(images, indices, out)`` of ``gather``: some of a data set's images (N, C, pixels) into out (n, pixels, C), converted.
"""

from __future__ import annotations

from ..registry import Kernel, deferred, single_precision
from . import blocked_cpu, gathered_cpu, interleaved_cpu, reference, registers_cpu


def _ranked(operator: str) -> list[Kernel]:
    swap = registers_cpu.Swap
    square = "Square blocks transposed by shuffles in vector registers."
    few = "Few channels: a vector of each, permuted among themselves."
    return [
        Kernel(operator, "forward", "interleaved", "cpu", interleaved_cpu.Swap, interleaved_cpu.refuses, summary=few),
        Kernel(operator, "forward", "registers", "cpu", swap, declines=registers_cpu.declines, summary=square),
        Kernel(operator, "forward", "blocked", "cpu", blocked_cpu.Swap, summary="Block by block, a cache line each way."),
        Kernel(
            operator,
            "forward",
            "tiles",
            "cuda",
            deferred("layout.tiles_cuda", "Swap"),
            refuses=single_precision,
            summary="Squares of 32 x 32 transposed in shared memory.",
            source="Harris, An Efficient Matrix Transpose in CUDA C/C++, 2013",
        ),
        Kernel(operator, "forward", "reference", "numpy", reference.Swap, summary="NumPy's own swapaxes."),
    ]


NCHW_TO_NHWC_FORWARD = _ranked("nchw_to_nhwc")
NHWC_TO_NCHW_FORWARD = _ranked("nhwc_to_nchw")

GATHER_FORWARD = [
    Kernel(
        "gather",
        "forward",
        "one_pass",
        "cpu",
        gathered_cpu.Gathered,
        gathered_cpu.refuses,
        summary="Images from a data set, converted and transposed as they are copied, each by the thread that will read it.",
    ),
    Kernel("gather", "forward", "reference", "numpy", reference.Gathered, summary="NumPy's own indices."),
]
