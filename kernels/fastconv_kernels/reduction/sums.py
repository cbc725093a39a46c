"""Summing rows, written once: one column of four rows."""


def of_four(total, a, b, c, d):
    """The sum so far with four more, the four among themselves first: a shorter chain of roundings, and of waiting."""
    return total + ((a + b) + (c + d))
