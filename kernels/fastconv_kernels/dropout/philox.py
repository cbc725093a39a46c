"""Philox4x32-10, written once: four random words of 32 bits from a counter of four words and a key of two.

Ten rounds, each of two products of 32 by 32 bits whose halves change places; nothing is remembered from one counter to the
next, so that every element's number can be computed by itself, on any target.

    element e of a step     word e % 4 for the counter (e // 4, step), 64 bits each

All words are integers of 64 bits of which the upper half is 0: in Python, on the CPU and on the GPU the same arithmetic.

Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
"""

MASK = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
STEPS_OF_KEY = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10


def words(group, step, key, beside):
    """The four words for elements 4 group … 4 group + 3; ``key`` and ``beside`` are the words of the key."""
    a, b, c, d = group & MASK, (group >> 32) & MASK, step & MASK, (step >> 32) & MASK
    return rounds(a, b, c, d, key, beside)


def rounds(a, b, c, d, key, beside):
    """The four words for the counter ``a b c d``."""
    for _ in range(ROUNDS):
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, c = (second >> 32) & MASK ^ b ^ key, (first >> 32) & MASK ^ d ^ beside
        b, d = second & MASK, first & MASK
        key, beside = (key + STEPS_OF_KEY[0]) & MASK, (beside + STEPS_OF_KEY[1]) & MASK
    return a, b, c, d
