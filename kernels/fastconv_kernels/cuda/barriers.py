"""Words for barriers in shared memory that count arrivals and bytes (*mbarrier*), with the bytes since sm_90.

A barrier is 8 bytes.  Its phase ends when as many threads have arrived as it was set up for, and as many bytes have come as
were announced; then the next phase begins, of the other parity.  A thread waits for the end of the phase of a given parity: of
the first phase it is 0; waiting for 1 at the beginning does not wait, since "the phase before" has ended.

Source: NVIDIA, PTX ISA 9.0, "Parallel Synchronization and Communication Instructions: mbarrier"; each word names its section.
"""

import threading

from . import lanes
from .asm import ADDRESS, INTEGER, word


class Barrier:
    """What the twins keep of a barrier."""

    def __init__(self, arrivals):
        self.arrivals, self.missing, self.bytes, self.parity = arrivals, arrivals, 0, 0
        self.everyone = threading.Condition()

    def change(self, arrivals=0, announced=0):
        with self.everyone:
            self.missing -= arrivals
            self.bytes += announced
            if self.missing == 0 and self.bytes == 0:
                self.parity, self.missing = 1 - self.parity, self.arrivals
                self.everyone.notify_all()

    def wait(self, parity):
        with self.everyone:
            if not self.everyone.wait_for(lambda: self.parity != parity, lanes.PATIENCE_S):
                raise RuntimeError(f"a barrier's phase of parity {parity} did not end: {self.missing} to arrive")


def barrier_at(place):
    """The barrier at an address of this block's shared memory."""
    return lanes.of_block("barriers", dict)[place.ctypes.data]


@word("mbarrier.init.shared::cta.b64 [{barrier}], {arrivals};", barrier=ADDRESS, arrivals=INTEGER)
def set_up(barrier, arrivals):
    """Make a barrier for so many arrivals.  (*mbarrier.init*)"""
    lanes.of_block("barriers", dict)[barrier.ctypes.data] = Barrier(arrivals)


@word("fence.mbarrier_init.release.cluster;")
def show_barriers():
    """Let the unit that copies see what ``set_up`` has written.  (*fence.mbarrier_init*)"""


@word("mbarrier.arrive.shared::cta.b64 _, [{barrier}];", barrier=ADDRESS)
def arrive(barrier):
    """Arrive.  (*mbarrier.arrive*)"""
    barrier_at(barrier).change(arrivals=1)


@word("mbarrier.arrive.expect_tx.shared::cta.b64 _, [{barrier}], {size};", barrier=ADDRESS, size=INTEGER)
def arrive_expecting(barrier, size):
    """Arrive, and announce ``size`` bytes.  (*mbarrier.arrive.expect_tx*)"""
    barrier_at(barrier).change(arrivals=1, announced=int(size))


@word(
    "{{ .reg .pred over; AGAIN: mbarrier.try_wait.parity.shared::cta.b64 over, [{barrier}], {parity}; "
    "@over bra OVER; bra AGAIN; OVER: }}",
    barrier=ADDRESS,
    parity=INTEGER,
)
def wait_for(barrier, parity):
    """Wait for the end of the phase of this parity.  (*mbarrier.try_wait*)"""
    barrier_at(barrier).wait(int(parity))
