"""Losses and right answers counted on the device, so that nobody waits for a step to learn how well it went.

    totals[0] += sum of the batch's losses                    totals[1] += rows whose largest output is the label's

one block: each thread takes every THREADS-th row, then half of the threads add what the other half has, again and again.
The order of additions follows from the batch alone.  The totals are float64: an epoch's sum loses no digits.

Source: Harris, "Optimizing Parallel Reduction in CUDA", NVIDIA, 2007.
"""

from functools import cache
from typing import Any

from numba import cuda, float32, float64, int32, int64, types

from .arrays import view
from .asm import SIMULATED
from .build import kernel
from .launch import start
from .memory import meet_block

THREADS = 32 if SIMULATED else 256
FLOATS, LABELS, TOTALS = types.CPointer(float32), types.CPointer(int64), types.CPointer(float64)


@cache
def counting():
    """The kernel (outputs, labels, losses, totals)."""

    @kernel(types.void(FLOATS, LABELS, FLOATS, TOTALS, int32, int32), threads=THREADS)
    def run(outputs, labels, losses, totals, rows, columns):
        thread = cuda.threadIdx.x
        loss = cuda.shared.array(THREADS, float32)
        right = cuda.shared.array(THREADS, int32)  # on a line of its own: the simulator tells arrays apart by their lines
        loss[thread], right[thread] = 0, 0
        for row in range(thread, rows, THREADS):
            best = 0
            for column in range(1, columns):
                if outputs[row * columns + column] > outputs[row * columns + best]:
                    best = column
            loss[thread] += losses[row]
            right[thread] += 1 if best == labels[row] else 0
        half = THREADS // 2
        while half > 0:
            meet_block()
            if thread < half:
                loss[thread] += loss[thread + half]
                right[thread] += right[thread + half]
            half //= 2
        if thread == 0:
            totals[0] += loss[0]
            totals[1] += right[0]

    return run


def count(outputs: Any, labels: Any, losses: Any, totals: Any) -> None:
    """Add a batch's ``losses`` (N,), and how many ``outputs`` (N, classes) agree with ``labels`` (N,) int64, to ``totals``."""
    outputs = view(outputs)
    start(counting(), 1, (outputs, view(labels), view(losses), view(totals)), outputs.shape)
