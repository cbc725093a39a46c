"""Batch normalisation: the ranked tables, best first, the reference last.

How the plans are called, with C-contiguous arrays of the problem's dtype, in its layout; what belongs to channels is (C,):

forward    with the statistics of the batch:
           ``plan(x, weight, bias, out, mean, inverse, running_mean=None, running_var=None, residual=None, relu=False, *,
           momentum=0.1, epsilon=1e-5)``; ``mean`` and ``inverse``, 1 / sqrt(variance + epsilon), are written, for backward
inference  with given ones:
           ``plan(x, weight, bias, mean, variance, out, residual=None, relu=False, *, epsilon=1e-5)``
backward   ``plan(grad_output, x, weight, mean, inverse, out, grad_weight, grad_bias, y=None, grad_residual=None)``;
           ``y`` is forward's ``out`` where relu was part of it

``weight`` and ``bias`` may be None: 1 and 0.  The ``residual``, of x's shape, is added before relu.  ``out`` may be ``x`` or
the residual forwards, and ``grad_output`` backwards.
"""

from __future__ import annotations

from ..registry import Kernel, deferred, single_precision
from . import columns_cpu, reference

_TWO, _REFERENCE = "Two passes; statistics of blocks are merged, sums have parts fixed by the problem.", "The definition."
_SOURCE = (
    "Ioffe and Szegedy, Batch Normalization, 2015; Chan, Golub, LeVeque, Algorithms for Computing the Sample Variance, 1983"
)


def _ranked(direction: str, compiled: type, defined: type, summary: str = _TWO) -> list[Kernel]:
    return [
        Kernel("batch_norm", direction, "columns", "cpu", compiled, summary=summary, source=_SOURCE),
        Kernel(
            "batch_norm",
            direction,
            "passes",
            "cuda",
            deferred("norm.passes_cuda", compiled.__name__),
            refuses=single_precision,
            summary="Sums of parts fixed by the problem, added in their order; then four elements at a time.",
            source=_SOURCE,
        ),
        Kernel("batch_norm", direction, "reference", "numpy", defined, summary=_REFERENCE, source=_SOURCE),
    ]


FORWARD = _ranked("forward", columns_cpu.Forward, reference.Forward)
INFERENCE = _ranked("inference", columns_cpu.Inference, reference.Inference, "One pass with a factor for each channel.")
BACKWARD = _ranked("backward", columns_cpu.Backward, reference.Backward)
