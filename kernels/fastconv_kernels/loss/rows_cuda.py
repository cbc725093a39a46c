"""Softmax, its logarithm and cross-entropy on the GPU: a warp for each row, with the bodies of ``row.py``.

    warp w of W      rows w, w + W, …
      lane l         elements l, l + 32, … of the row: neighbours in memory are read by neighbours
      sums, maxima   of each lane's own first, then across the lanes by five exchanges: a fixed order, the same bits every time

Lanes meet only where they exchange.  What a lane reads again, it has written itself.
"""

from functools import cache

import numpy as np
from numba import cuda, float32, int32, int64, types, uint8

from ..cuda.arrays import view
from ..cuda.build import device, kernel
from ..cuda.grid import THREADS, blocks_for
from ..cuda.launch import start
from ..cuda.memory import at
from ..cuda.warp import LANES, add_across, largest_across
from . import row

FLOATS = types.CPointer(float32)
LABELS = {"int64": types.CPointer(int64), "int32": types.CPointer(int32), "uint8": types.CPointer(uint8)}
LEAST, NO_NUMBER = np.float32(-np.inf), np.float32(np.nan)


@device
def each(count):
    """The elements of this lane."""
    return range(cuda.threadIdx.x % LANES, count, LANES)


@device
def having(i):
    """``i`` for its lane, nothing for the others."""
    return range(i, i + 1 if i % LANES == cuda.threadIdx.x % LANES else i)


@device
def together(part):
    """The sum of all lanes' parts."""
    total, other = cuda.local.array(1, float32), cuda.local.array(1, float32)
    total[0] = part
    add_across(total, other)
    return total[0]


@device
def maximum(x, count):
    """The largest element of the row; a NaN may be passed over, all exponentials become NaN with their sum."""
    best, other = cuda.local.array(1, float32), cuda.local.array(1, float32)
    best[0] = LEAST
    for i in each(count):
        best[0] = x[i] if x[i] > best[0] else best[0]
    largest_across(best, other)
    return best[0]


def on_warps(body):
    """``body`` for the lanes of a warp."""
    return device(body, each=each, having=having, together=together, maximum=maximum)


loss_of_label, loss_of_distribution = on_warps(row.cross_entropy), on_warps(row.cross_entropy_of_distribution)


@cache
def forward(body):
    """The kernel (x, out) of a function of a row."""
    of_row = on_warps(body)

    @kernel(types.void(FLOATS, FLOATS, int32, int32), threads=THREADS)
    def run(x, out, rows, count):
        for number in range(cuda.grid(1) // LANES, rows, cuda.gridsize(1) // LANES):
            of_row(at(x, number * count), at(out, number * count), count)

    return run


@cache
def backward(body):
    """The kernel (gradient, y, out)."""
    of_row = on_warps(body)

    @kernel(types.void(FLOATS, FLOATS, FLOATS, int32, int32), threads=THREADS)
    def run(gradient, y, out, rows, count):
        for number in range(cuda.grid(1) // LANES, rows, cuda.gridsize(1) // LANES):
            of_row(at(gradient, number * count), at(y, number * count), at(out, number * count), count)

    return run


@cache
def cross_entropy(label_type):
    """The kernel for labels that are numbers of classes; a label that is none gives the loss NaN and no gradient."""

    @kernel(types.void(FLOATS, LABELS[label_type], FLOATS, FLOATS, int32, int32, float32), threads=THREADS)
    def run(logits, labels, losses, grad, rows, count, scale):
        for number in range(cuda.grid(1) // LANES, rows, cuda.gridsize(1) // LANES):
            label, loss = labels[number], NO_NUMBER
            if label >= 0 and label < count:
                loss = loss_of_label(at(logits, number * count), label, at(grad, number * count), count, scale)
            if cuda.threadIdx.x % LANES == 0:
                losses[number] = loss

    return run


@cache
def cross_entropy_of_distributions():
    """The kernel for targets that have a weight for each class."""

    @kernel(types.void(FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, float32), threads=THREADS)
    def run(logits, targets, losses, grad, rows, count, scale):
        for number in range(cuda.grid(1) // LANES, rows, cuda.gridsize(1) // LANES):
            place = number * count
            loss = loss_of_distribution(at(logits, place), at(targets, place), at(grad, place), count, scale)
            if cuda.threadIdx.x % LANES == 0:
                losses[number] = loss

    return run


class _Plan:
    workspace_bytes = 0

    def __init__(self, problem, threads=1):
        self.problem, self.threads = problem, threads

    def start(self, run, arrays, *numbers):
        if rows := self.problem.rows:
            given = [view(array) for array in arrays]
            start(run, blocks_for(LANES * rows), given, (rows, self.problem.columns, *numbers))


class Softmax(_Plan):
    """``plan(x, out)``"""

    def __call__(self, x, out):
        """Write the softmax of each row of ``x`` into ``out``."""
        self.start(forward(row.softmax), (x, out))
        return out


class SoftmaxBackward(_Plan):
    """``plan(grad_output, y, out)``"""

    def __call__(self, grad_output, y, out):
        """Write the gradient of the input into ``out``."""
        self.start(backward(row.softmax_backward), (grad_output, y, out))
        return out


class LogSoftmax(_Plan):
    """``plan(x, out)``"""

    def __call__(self, x, out):
        """Write the logarithm of the softmax of each row of ``x`` into ``out``."""
        self.start(forward(row.log_softmax), (x, out))
        return out


class LogSoftmaxBackward(_Plan):
    """``plan(grad_output, y, out)``"""

    def __call__(self, grad_output, y, out):
        """Write the gradient of the input into ``out``."""
        self.start(backward(row.log_softmax_backward), (grad_output, y, out))
        return out


class CrossEntropy(_Plan):
    """``plan(logits, labels, losses, grad)``"""

    def __call__(self, logits, labels, losses, grad):
        """Write each row's loss, and the gradient of their mean."""
        labels = view(labels)
        run = cross_entropy(labels.dtype.name) if len(labels.shape) == 1 else cross_entropy_of_distributions()
        self.start(run, (logits, labels, losses, grad), 1.0 / max(1, self.problem.rows))
        return losses
