"""What the simulator lacks for PTX words: the lanes of a warp, or a warpgroup, acting together, and copies that arrive late.

The simulator runs each thread of a block as a thread of Python.  Only the twins of words use this module.
"""

import threading

import numpy as np

LANES = 32
GROUP, MEMBER = np.divmod(np.arange(LANES), 4)
"""PTX's *groupID* and *threadID_in_group*: how a matrix is spread over the lanes."""

PATIENCE_S = 60.0
creating = threading.Lock()


class Warp:
    """The meeting place of so many lanes: each leaves an operand, the last to come computes, each takes its part home."""

    def __init__(self, lanes):
        self.everyone, self.lanes = threading.Condition(), lanes
        self.meeting, self.waiting, self.operands, self.parts = 0, 0, [None] * lanes, None

    def meet(self, lane, word, operand, compute):
        with self.everyone:
            meeting = self.meeting
            self.operands[lane] = (word, operand)
            self.waiting += 1
            if self.waiting == self.lanes:
                if any(other != word for other, _ in self.operands):
                    words = sorted({other for other, _ in self.operands})
                    raise RuntimeError(f"lanes of one warp stand at different words: {', '.join(words)}")
                self.parts = compute([operand for _, operand in self.operands])
                self.meeting, self.waiting = meeting + 1, 0
                self.everyone.notify_all()
            elif not self.everyone.wait_for(lambda: self.meeting > meeting, PATIENCE_S):
                raise RuntimeError(f"only {self.waiting} lanes of a warp came to {word}")
            return self.parts[lane]  # no lane can overwrite it: the next meeting needs this lane too


def of_block(name, make):
    """What the threads of this block share under a name, ``make()`` at first."""
    kept = threading.current_thread()._manager.__dict__  # the manager lives as long as the block
    with creating:
        if name not in kept:
            kept[name] = make()
    return kept[name]


def together(word, operand, compute, lanes=LANES):
    """``compute(operands of all lanes)[this lane]``: what a ``.sync.aligned`` instruction does."""
    number = threading.current_thread().thread_id
    warp = of_block(f"{lanes} lanes, number {number // lanes}", lambda: Warp(lanes))
    return warp.meet(number % lanes, word, operand, compute)


def copies_under_way():
    """The groups of this thread's copies, oldest first; the last is still open."""
    return threading.current_thread().__dict__.setdefault("copies", [[]])


def copy_later(place, data):
    """Start a copy.  Until it is waited for the place holds NaN: reading too early must fail here as on the machine."""
    place.view(np.uint8)[:] = 0xFF
    copies_under_way()[-1].append((place, data))


def close_group():
    copies_under_way().append([])


def arrive(pending):
    """Let copies arrive until at most ``pending`` closed groups are under way."""
    groups = copies_under_way()
    while len(groups) - 1 > pending:
        for place, data in groups.pop(0):
            place[:] = data
