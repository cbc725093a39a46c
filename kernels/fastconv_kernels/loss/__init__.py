"""Softmax, its logarithm and cross-entropy over rows: the ranked tables, best first, the reference last.

softmax, log_softmax  forward ``plan(x, out)``; backward_input ``plan(grad_output, y, out)`` with y what forward wrote
cross_entropy         ``plan(logits, labels, losses, grad)``: labels (rows,) int64, each in range(classes), or weights (rows,
                      classes) of the logits' dtype, one-hot, say; losses (rows,); grad, the gradient of their *mean*

What is written shares no memory with what is read: a row may be read again after it was begun to be written.
"""

from __future__ import annotations

from ..registry import Kernel, deferred, single_precision
from . import reference, rows_cpu

_ROWS, _REFERENCE = (
    "Row by row: a row is fetched once and stays in the nearest cache while it is read again.",
    "The definition on whole arrays.",
)


def _on_cuda(operator: str, direction: str, plan: str) -> Kernel:
    made, summary = deferred("loss.rows_cuda", plan), "A warp for each row, its lanes over the elements."
    return Kernel(operator, direction, "rows", "cuda", made, refuses=single_precision, summary=summary)


SOFTMAX_FORWARD = [
    Kernel("softmax", "forward", "rows", "cpu", rows_cpu.Softmax, summary=_ROWS),
    _on_cuda("softmax", "forward", "Softmax"),
    Kernel("softmax", "forward", "reference", "numpy", reference.Softmax, summary=_REFERENCE),
]

SOFTMAX_BACKWARD_INPUT = [
    Kernel("softmax", "backward_input", "rows", "cpu", rows_cpu.SoftmaxBackward, summary=_ROWS),
    _on_cuda("softmax", "backward_input", "SoftmaxBackward"),
    Kernel("softmax", "backward_input", "reference", "numpy", reference.SoftmaxBackward, summary=_REFERENCE),
]

LOG_SOFTMAX_FORWARD = [
    Kernel("log_softmax", "forward", "rows", "cpu", rows_cpu.LogSoftmax, summary=_ROWS),
    _on_cuda("log_softmax", "forward", "LogSoftmax"),
    Kernel("log_softmax", "forward", "reference", "numpy", reference.LogSoftmax, summary=_REFERENCE),
]

LOG_SOFTMAX_BACKWARD_INPUT = [
    Kernel("log_softmax", "backward_input", "rows", "cpu", rows_cpu.LogSoftmaxBackward, summary=_ROWS),
    _on_cuda("log_softmax", "backward_input", "LogSoftmaxBackward"),
    Kernel("log_softmax", "backward_input", "reference", "numpy", reference.LogSoftmaxBackward, summary=_REFERENCE),
]

CROSS_ENTROPY_FORWARD = [
    Kernel("cross_entropy", "forward", "rows", "cpu", rows_cpu.CrossEntropy, summary=_ROWS),
    _on_cuda("cross_entropy", "forward", "CrossEntropy"),
    Kernel("cross_entropy", "forward", "reference", "numpy", reference.CrossEntropy, summary=_REFERENCE),
]
