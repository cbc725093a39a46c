"""Batch normalisation and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dispatch
from ..dispatch import LAYOUTS, BatchNorm, Settings
from ..errors import ArgumentError
from . import _check
from ._check import Array
from ._flat import number, output
from ._placement import anywhere, beside

ACTIVATIONS = (None, "relu")


@anywhere
def batch_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
    residual: Any = None,
    return_statistics: bool = False,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Any:
    """activation((x - mean) / sqrt(variance + eps) * weight + bias + residual), the statistics those of each channel.

    Parameters
    ----------
    x : (N, C), (N, C, L), (N, C, H, W), …, float32 or float64
        The channels last with ``layout="NHWC"``.
    running_mean, running_var : (C,), optional
        In ``training`` they move, in place, by ``momentum`` towards the mean of the batch and its variance divided by
        N * H * W - 1; else they are the statistics.  C-contiguous.
    weight, bias : (C,), optional
        1 and 0 if they are not given.
    training : bool
        Whether the statistics are those of ``x``, its variance divided by N * H * W.
    activation : None or "relu"
    residual : shape of ``x``, optional
    return_statistics : bool
        In ``training``: give back as well what ``batch_norm_backward`` needs.
    layout : "NCHW" or "NHWC"
    out : shape of ``x``, optional
        Overwritten in place; C-contiguous, of ``x``'s dtype; ``x`` or ``residual`` itself, or overlapping with no input.
    algorithm, target : str, optional
        See ``fastconv.use``.

    Returns
    -------
    shape of ``x``
        With ``return_statistics`` (that, (mean, 1 / sqrt(variance + eps))), both (C,).

    Raises
    ------
    ArgumentError, DtypeError
        An argument of a wrong value, shape or dtype; a batch in ``training`` with one value for a channel.
    UnsupportedError, TargetUnavailableError
        No kernel computes it as asked.

    References
    ----------
    Ioffe, Szegedy, "Batch Normalization", 2015.
    """
    x, problem = _problem(x, layout)
    dtype, shape = x.dtype.newbyteorder("="), (problem.channels,)
    _check.one_of("activation", activation, ACTIVATIONS)
    momentum, eps = number("momentum", momentum), _epsilon(eps)
    running = _running(running_mean, running_var, shape, dtype, bool(training))
    if training and problem.count == 1:
        raise ArgumentError(f"x: expected more than one value for each channel in training, got shape {x.shape}")
    affine = _of_channels("weight", weight, shape, dtype), _of_channels("bias", bias, shape, dtype)
    inputs = {"x": x} if residual is None else {"x": x, "residual": _check.shaped("residual", residual, x.shape, dtype)}
    result = output(out, x, **inputs)
    addend = None if residual is None else _check.contiguous(inputs["residual"])
    fused, asked = (addend, activation == "relu"), Settings(target, algorithm)
    statistics = tuple(_check.new(shape, dtype, x) if x.size else beside(x, np.zeros(shape, dtype)) for _ in range(2))
    with dispatch.lender("batch_norm", "forward" if training else "inference", problem, asked).lend() as plan:
        if training:
            rates = {"momentum": momentum, "epsilon": eps}
            plan(_check.contiguous(x), *affine, result, *statistics, *running, *fused, **rates)
        else:
            plan(_check.contiguous(x), *affine, *running, result, *fused, epsilon=eps)
    return (result, statistics) if training and return_statistics else result


@anywhere
def batch_norm_backward(
    grad_output: Any,
    x: Any,
    mean: Any,
    inverse: Any,
    weight: Any = None,
    *,
    y: Any = None,
    grad_residual: Array | None = None,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> tuple[Array, Array, Array]:
    """The gradients of ``batch_norm`` in training.

    Parameters
    ----------
    grad_output, x : arrays of the same shape, float32 or float64
        The gradient of the result, and the input.
    mean, inverse : (C,)
        The statistics that ``batch_norm`` returned.
    weight : (C,), optional
    y : shape of ``x``, optional
        The result, if its activation was relu.
    grad_residual : shape of ``x``, optional
        Overwritten with the gradient of the residual; C-contiguous, of ``x``'s dtype.
    layout : "NCHW" or "NHWC"
    out : shape of ``x``, optional
        Overwritten in place; C-contiguous, of ``x``'s dtype; ``grad_output`` itself, or overlapping with no input.
    algorithm, target : str, optional
        See ``fastconv.use``.

    Returns
    -------
    grad_input : shape of ``x``
    grad_weight, grad_bias : (C,)

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``batch_norm``.
    """
    x, problem = _problem(x, layout)
    dtype, channels = x.dtype.newbyteorder("="), (problem.channels,)
    given = _check.shaped("grad_output", grad_output, x.shape, dtype)
    known = [_of_channels(*named, channels, dtype) for named in (("weight", weight), ("mean", mean), ("inverse", inverse))]
    inputs = {"x": x} if y is None else {"x": x, "y": _check.shaped("y", y, x.shape, dtype)}
    result = output(out, given, grad_output=given)
    _check.output(result, x.shape, dtype, inputs)
    passed = None if grad_residual is None else _check.output(grad_residual, x.shape, dtype, {**inputs, "out": result})
    gradients = _check.new(channels, dtype, x), _check.new(channels, dtype, x)
    with dispatch.lender("batch_norm", "backward", problem, Settings(target, algorithm)).lend() as plan:
        reached = None if y is None else _check.contiguous(inputs["y"])
        plan(_check.contiguous(given), _check.contiguous(x), *known, result, *gradients, reached, passed)
    return result, *gradients


def _problem(x: Any, layout: str) -> tuple[Array, BatchNorm]:
    _check.one_of("layout", layout, LAYOUTS)
    found = _check.array("x", x)
    channels = found.shape[1 if layout == "NCHW" else -1] if found.ndim > 1 else 0
    if channels < 1:
        raise ArgumentError(f"x: expected (N, C, …) or, in NHWC, (N, …, C) with at least one channel, got shape {found.shape}")
    images = found.shape[0]
    pixels = found.size // (images * channels) if found.size else 0
    return found, BatchNorm(images, channels, pixels, found.dtype.name, layout)


def _epsilon(eps: Any) -> float:
    found = number("eps", eps)
    if found < 0:
        raise ArgumentError(f"eps: expected a number of at least 0, got {eps!r}")
    return found


def _of_channels(name: str, value: Any, shape: tuple[int], dtype: np.dtype[Any]) -> Array | None:
    return None if value is None else _check.contiguous(_check.shaped(name, value, shape, dtype))


def _running(mean: Any, variance: Any, shape: tuple[int], dtype: np.dtype[Any], training: bool) -> tuple[Any, Any]:
    """The running statistics, which training writes."""
    found: list[Array | None] = []
    for name, value, other in (("running_mean", mean, variance), ("running_var", variance, mean)):
        if value is None and (other is not None or not training):
            raise ArgumentError(f"{name}: expected an array, outside training and beside the other statistic, got None")
        if value is not None and training:
            found.append(_written(name, value, shape, dtype))
        else:
            found.append(_of_channels(name, value, shape, dtype))
    return found[0], found[1]


def _written(name: str, value: Any, shape: tuple[int], dtype: np.dtype[Any]) -> Array:
    checked = _check.shaped(name, value, shape, dtype)
    if not (checked.flags.writeable and checked.flags.c_contiguous and checked.flags.aligned and checked.dtype.isnative):
        raise ArgumentError(f"{name}: expected a C-contiguous array that can be written")
    return checked
