"""What a session says, in sentences."""

from __future__ import annotations

from typing import Any

from .facts import by_suite, mean, on_gpu, ratios

TITLES = {
    "forward": "Convolution, forward",
    "backward_input": "Convolution, gradient of the input",
    "backward_weight": "Convolution, gradient of the weight",
    "pool": "Pooling, forward",
    "pool_backward": "Pooling, backward",
    "matmul": "Matrix products",
    "streams": "Memory-bound operators",
    "training": "Training steps",
    "algorithms": "Which algorithm wins where",
}
"""By suite."""

ROOFLINE = (
    "Each point is a kernel on a problem: how much it computes for each byte that must come and go, and how fast. The dotted "
    "lines are what copying reaches in each cache and in memory, up to what can be multiplied at most: a problem's own roof "
    "is that of the caches in which its arrays stay. Open diamonds are counted by the definition though they multiply less, "
    "as Winograd's kernels do, and can lie above every line. Tap a kernel's name to hide it."
)
RATIOS = "How many times as long the others take, in the better of their layouts: above 1, the line, fastconv is faster."
SHARES = "How near to the roofline each is; there was no other library to compare with."
CHOICE = "How many times as long as the fastest each algorithm takes, of those that could have been chosen for a problem."
SCALING = "How many times as fast a kernel is with all threads as with one."


def summary(session: dict[str, Any]) -> list[str]:
    """The result in a few sentences."""
    machine, rows = session["machine"], session["rows"]
    found = [
        f"Measured on {machine['cpu']}, {machine['lanes']} lanes a register; every result was verified before it was timed."
    ]
    by_peer: dict[str, list[float]] = {}
    for row in (row for own in by_suite(rows).values() for row in own):
        for peer, ratio in ratios(row).items():
            by_peer.setdefault(peer, []).append(ratio)
    for peer, values in by_peer.items():
        faster = sum(value > 1 for value in values)
        mostly = f"{mean(values):.2f} times as fast in the geometric mean"
        found.append(f"Against {peer}: faster on {faster} of {len(values)} problems, {mostly}.")
    if disturbed := sum("disturbed" in row for row in rows):
        found.append(f"{disturbed} of {len(rows)} rows, marked in the tables, were disturbed by other processes or the clock.")
    wrong = [f"{name} on {row['case']}" for row in rows for name in row.get("failed", {})]
    return found + ([f"Wrong or failed, and not timed: {', '.join(wrong)}."] if wrong else [])


def devices(session: dict[str, Any]) -> str:
    """Whether a GPU took part."""
    if all(on_gpu(row) is None for row in session["rows"]):
        return "No GPU was measured: there is nothing to compare the CPU with, and no way there and back to weigh against it."
    return (
        "The same problem on both, with its arrays in the memory of either. Where they are on the other side, their way there "
        "and back has to pay: it does after so many calls on the same arrays."
    )
