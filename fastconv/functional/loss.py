"""Softmax, its logarithm, and the cross-entropy of logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dispatch
from ..dispatch import Rows, Settings
from ..errors import ArgumentError, DtypeError
from . import _check
from ._check import Array
from ._flat import axis_of, output
from ._placement import anywhere, beside, on_host


@anywhere
def softmax(
    x: Any, axis: int = -1, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None
) -> Array:
    """e**x over the sum of e**x along ``axis``, without overflow.

    Parameters
    ----------
    x : array of any shape, float32 or float64
    axis : int
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
    """
    return _by_rows("softmax", "forward", axis, out, Settings(target, algorithm), x=x)


@anywhere
def softmax_backward(
    grad_output: Any,
    y: Any,
    axis: int = -1,
    *,
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """The gradient of ``softmax``'s input from its result ``y``: y * (grad_output - sum of grad_output * y).

    Both have the same shape and dtype; ``out`` may be either of them.  The rest is as in ``softmax``.
    """
    return _by_rows("softmax", "backward_input", axis, out, Settings(target, algorithm), grad_output=grad_output, y=y)


@anywhere
def log_softmax(
    x: Any, axis: int = -1, *, out: Array | None = None, algorithm: str | None = None, target: str | None = None
) -> Array:
    """The logarithm of ``softmax``, exact also where that is 0; arguments and errors as there."""
    return _by_rows("log_softmax", "forward", axis, out, Settings(target, algorithm), x=x)


@anywhere
def log_softmax_backward(
    grad_output: Any,
    y: Any,
    axis: int = -1,
    *,
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """The gradient of ``log_softmax``'s input from its result ``y``: grad_output - e**y * sum of grad_output.

    Both have the same shape and dtype; ``out`` may be either of them.  The rest is as in ``softmax``.
    """
    return _by_rows("log_softmax", "backward_input", axis, out, Settings(target, algorithm), grad_output=grad_output, y=y)


@anywhere
def cross_entropy(logits: Any, target: Any, *, out: Array | None = None, algorithm: str | None = None) -> tuple[float, Array]:
    """The mean cross-entropy of the softmax of ``logits`` with ``target``, and its gradient.

    Parameters
    ----------
    logits : (N, classes), float32 or float64
        Not normalised.
    target : (N,) integers, or (N, classes)
        The number of each row's class, or its weight for every class: one-hot or a distribution, at least 0.
    out : (N, classes), optional
        Where the gradient is written; C-contiguous, of the logits' dtype, overlapping with no input.
    algorithm : str, optional
        See ``fastconv.use``, which also chooses where this runs: here ``target`` is what is to be learned.

    Returns
    -------
    loss : float
        The mean over the rows; NaN for none.
    grad_logits : (N, classes)
        Its gradient, (softmax - one-hot) / N.

    Raises
    ------
    ArgumentError, DtypeError
        An argument of a wrong value, shape or dtype; a class that does not exist.
    """
    logits = _check.array("logits", logits)
    if logits.ndim != 2 or logits.shape[1] < 1:
        raise ArgumentError(f"logits: expected (N, classes) with at least one class, got shape {logits.shape}")
    dtype = logits.dtype.newbyteorder("=")
    rows, classes = logits.shape
    labels = _labels(target, rows, classes, dtype)
    grad = _check.output(out, logits.shape, dtype, {"logits": logits, "target": labels})
    losses = _check.new((rows,), dtype, logits)
    lender = _settled(dispatch.around(), "cross_entropy", "forward", rows, classes, dtype, Settings(None, algorithm))
    lender(_check.contiguous(logits), beside(logits, labels), losses, grad)
    return (float(on_host(losses).mean(dtype=np.float64)) if rows else float("nan")), grad


def _labels(target: Any, rows: int, classes: int, dtype: np.dtype[Any]) -> Array:
    """``target`` as the kernels take it: (rows,) int64 or (rows, classes) of the logits' dtype."""
    try:
        found = np.asarray(on_host(target))
    except ValueError as error:
        raise ArgumentError(f"target: expected an array, but reading it as one fails: {error}") from None
    if found.shape == (rows,):
        if found.dtype.kind not in "iu":
            raise DtypeError(f"target: expected integers, the numbers of the classes, got {found.dtype}")
        if rows and (found.min() < 0 or found.max() >= classes):
            wrong = int(np.flatnonzero((found < 0) | (found >= classes))[0])
            raise ArgumentError(f"target: expected classes from 0 to {classes - 1}, got {found[wrong]} at {wrong}")
        return np.array(found, np.int64)
    if found.shape != (rows, classes):
        raise ArgumentError(f"target: expected shape ({rows},) or ({rows}, {classes}), got {found.shape}")
    if found.dtype.kind not in "iufb":
        raise DtypeError(f"target: expected numbers, got {found.dtype}")
    weights = np.array(found, dtype, order="C")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ArgumentError("target: expected finite weights of at least 0 for the classes")
    return weights


def _by_rows(operator: str, direction: str, axis: int, out: Array | None, asked: Settings, **arrays: Any) -> Array:
    """Run a plan over ``axis``, which is brought to the end, and copied only if it is not there already."""
    name, value = next(reversed(arrays.items()))
    last = _check.array(name, value)
    dtype = last.dtype.newbyteorder("=")
    inputs = {key: _check.shaped(key, array, last.shape, dtype) for key, array in arrays.items()}
    axis = axis_of(last, name, axis)
    if last.shape[axis] < 1:
        raise ArgumentError(f"{name}: expected at least one element along axis {axis}, got shape {last.shape}")
    out = output(out, last, **inputs)
    columns = last.shape[axis]
    count = last.size // columns
    rows = [_check.contiguous(_brought_last(array, axis)).reshape(count, columns) for array in inputs.values()]
    moved = _brought_last(out, axis)
    # Kernels may read a row again after they began to write it: an input that is ``out`` itself gets its result at the end.
    in_place = any(np.may_share_memory(out, array) for array in inputs.values())
    result = moved if moved.flags.c_contiguous and not in_place else _check.new(moved.shape, dtype, moved)
    _settled(dispatch.around(), operator, direction, count, columns, dtype, asked)(*rows, result.reshape(count, columns))
    if result is not moved:
        np.copyto(moved, result)
    return out


def _brought_last(array: Array, axis: int) -> Array:
    """``array`` with ``axis`` at the end, where it mostly is already: NumPy takes five microseconds to find out."""
    return array if axis == array.ndim - 1 else np.moveaxis(array, axis, -1)


@dispatch.remembered
def _settled(
    _around: dispatch.Around, operator: str, direction: str, rows: int, columns: int, dtype: np.dtype[Any], asked: Settings
) -> dispatch.Lender:
    """Who computes a function of so many rows."""
    return dispatch.lender(operator, direction, Rows(rows, columns, dtype.name), asked)
