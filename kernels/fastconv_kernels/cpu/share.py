"""How threads share work: evenly, in the order of the work."""

from numba import int64

from .compile import inlined

THREAD_FLOPS = 1_250_000
"""Work that pays for waking one more thread: about 6 µs of arithmetic.

On two threads of a Zen 5 a product of 2.0 Mflop took 12.4 µs for 9.5 on one, of 4.2 Mflop 15.5 for 17.2, a convolution of 2.6
Mflop 14.3 for 16.5 and of 4.8 Mflop 18 for 30.
"""


@inlined
def share(thread, threads, total):
    """(first, end) of what thread ``thread`` of ``threads`` does of ``total`` pieces."""
    thread = int64(thread)  # Numba counts prange in unsigned integers, and makes a float of signed plus unsigned
    return total * thread // threads, total * (thread + 1) // threads


@inlined
def share_of_bands(thread, threads, images, rows, band_rows, panels):
    """``share`` of the panels of all bands of images: (first, end), panels counted band by band.

    Each panel is as much work as its band has rows: ``band_rows``, or what is left of the ``rows`` of an image.
    """
    thread, bands = int64(thread), (rows + band_rows - 1) // band_rows
    first = last = int64(0)
    for number in (thread, thread + 1):
        before = images * rows * panels * number // threads
        image, before = before // (rows * panels), before % (rows * panels)
        band, before = before // (band_rows * panels), before % (band_rows * panels)
        band_rows_here = min(band_rows, rows - band * band_rows)
        first, last = last, (image * bands + band) * panels + (before + band_rows_here // 2) // band_rows_here
    return first, last


def threads_for(threads, work, grain):
    """No more of ``threads`` than there are grains in ``work``: starting a thread must cost less than it saves."""
    return max(1, min(threads, work // grain))


@inlined
def stripe(thread, threads, length, unit):
    """(first, end) of what thread ``thread`` of ``threads`` does of range(length), cut at multiples of ``unit``."""
    first, end = share(thread, threads, (length + unit - 1) // unit)
    return min(length, first * unit), min(length, end * unit)
