"""One pass over flat arrays: a function of what lies at the same place in each of them.

    thread t of T     elements 4 t … 4 t + 3 of every array, then those 4 T further: a grid-stride loop over fours
      reads           16 bytes of each array that is read
      element         the function, for each of the four: ``values`` of all arrays read → ``results`` for all written
      writes          16 bytes of each array that is written, which may be one that was read

Where an address is no multiple of 16 bytes, ``width`` is 1 and the loop goes over single elements.  Nothing is shared and
nobody waits: memory alone is the limit.  Activations and the steps of optimizers are such functions.

``rates``, what the function is given besides, are numbers of the launch; or, ``scheduled``, a row of a table in memory, so
that a recorded launch finds others each time.
"""

from functools import cache

from numba import cuda, float32, int32, int64, types

from .arrays import view
from .build import device, kernel, numbers
from .grid import THREADS, blocks_for
from .launch import start
from .memory import at, fetch_four, store_four
from .unrolling import unroll

FLOATS, INTEGERS = types.CPointer(float32), types.CPointer(int64)
MOST_READ, MOST_WRITTEN = 4, 3
"""Arrays.  A kernel has a parameter for each, and reads and writes those that it was made for."""
ARRAYS = [FLOATS] * (MOST_READ + MOST_WRITTEN)


@cache
def sweeping(element, reads, writes, width):
    """The loop around ``element(values, results, rates)``."""
    values_count, results_count = reads * width, writes * width

    @device
    def sweep(a, b, c, d, p, q, r, size, rates):
        given, written = (a, b, c, d), (p, q, r)
        four = cuda.local.array(4, float32)
        values, results = cuda.local.array(values_count, float32), cuda.local.array(results_count, float32)
        for first in range(width * cuda.grid(1), size, width * cuda.gridsize(1)):
            if first + width <= size and width == 4:
                for array in unroll(reads):
                    fetch_four(at(four, 0), at(given[array], first))
                    for i in unroll(4):
                        values[reads * i + array] = four[i]
                for i in unroll(4):
                    element(at(values, reads * i), at(results, writes * i), rates)
                for array in unroll(writes):
                    for i in unroll(4):
                        four[i] = results[writes * i + array]
                    store_four(at(written[array], first), at(four, 0))
            else:  # single elements, or the last of them
                for place in range(first, min(first + width, size)):
                    for array in unroll(reads):
                        values[array] = given[array][place]
                    element(at(values, 0), at(results, 0), rates)
                    for array in unroll(writes):
                        written[array][place] = results[array]

    return sweep


@cache
def streaming(element, reads, writes, width, rates):
    """The kernel whose ``rates`` are numbers, a named tuple of this class."""
    sweep = sweeping(element, reads, writes, width)

    @kernel(types.void(*ARRAYS, int32, numbers(rates)), threads=THREADS, blocks=2)
    def run(a, b, c, d, p, q, r, size, rates):
        sweep(a, b, c, d, p, q, r, size, rates)

    return run


@cache
def scheduled(element, reads, writes, width, row, columns):
    """The kernel (arrays, table, steps) whose rates are ``row(table, place)``, those of the step which comes next."""
    sweep = sweeping(element, reads, writes, width)

    @kernel(types.void(*ARRAYS, FLOATS, INTEGERS, int32), threads=THREADS, blocks=2)
    def run(a, b, c, d, p, q, r, table, steps, size):
        sweep(a, b, c, d, p, q, r, size, row(table, steps[0] * columns))

    return run


def stream(element, read, written, rates):
    """Compute every element of the arrays ``written`` from those of the arrays ``read``; all have one size and no gaps."""
    arrays, size, width = _arranged(read, written)
    if size:
        run = streaming(element, len(read), len(written), width, type(rates))
        start(run, blocks_for(-(-size // width)), arrays, (size, rates))


def stream_scheduled(element, read, written, row, table, steps):
    """The same with rates from ``table`` (steps, columns) float32: of the step that ``steps`` (…) int64 counts first."""
    arrays, size, width = _arranged(read, written)
    if size:
        run = scheduled(element, len(read), len(written), width, row, table.shape[1])
        start(run, blocks_for(-(-size // width)), (*arrays, view(table), view(steps)), (size,))


def _arranged(read, written):
    """(the arrays as the kernels take them, their size, how many elements go side by side)"""
    read, written = [view(array) for array in read], [view(array) for array in written]
    width = 4 if all(array.address % 16 == 0 for array in read + written) else 1
    unused = [None] * (MOST_READ - len(read)), [None] * (MOST_WRITTEN - len(written))
    return (*read, *unused[0], *written, *unused[1]), written[0].size, width
