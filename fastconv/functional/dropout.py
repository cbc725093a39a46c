"""Dropout as a call: what it drops is a function of a seed and a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dispatch
from ..dispatch import Dropout, Settings
from ..errors import ArgumentError
from . import _check
from ._check import Array
from ._flat import number, output
from ._placement import anywhere, beside


@anywhere
def dropout(
    x: Any,
    rate: float = 0.5,
    *,
    seed: int,
    step: int = 0,
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """0 with probability ``rate``, else ``x / (1 - rate)``, for each element.

    The same elements are dropped for the same ``seed`` and ``step`` on any target, with any number of threads: the gradient of
    the input is ``dropout(grad_output, rate, seed=seed, step=step)``.

    Parameters
    ----------
    x : array of any shape and strides, float32 or float64
    rate : float in [0, 1)
    seed, step : int
        Of at least 0; the step below 2**63.
    out : shape of ``x``, optional
        Overwritten in place; C-contiguous, of ``x``'s dtype; ``x`` itself, or overlapping with no input.
    algorithm, target : str, optional
        See ``fastconv.use``.

    Returns
    -------
    shape of ``x``

    Raises
    ------
    ArgumentError, DtypeError
        An argument of a wrong value, shape or dtype.
    UnsupportedError, TargetUnavailableError
        No kernel computes it as asked.

    Sources: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014; Salmon et al.,
    "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
    """
    for name, value in (("seed", seed), ("step", step)):
        if not _check.integer(value) or value < 0:
            raise ArgumentError(f"{name}: expected an integer of at least 0, got {value!r}")
    if step >= 1 << 63:
        raise ArgumentError(f"step: expected an integer below 2**63, got {step!r}")
    share = number("rate", rate)
    if not 0 <= share < 1:
        raise ArgumentError(f"rate: expected a number in [0, 1), got {rate!r}")
    x = _check.array("x", x)
    result = output(out, x, x=x)
    problem = Dropout(x.size, share, result.dtype.name)
    with dispatch.lender("dropout", "forward", problem, Settings(target, algorithm)).lend() as plan:
        first, second = np.random.SeedSequence(int(seed)).generate_state(2)
        plan(_check.contiguous(x), result, (int(first), int(second)), beside(result, np.array([step], np.int64)))
    return result
