"""The matrix product and the linear layer built on it."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .. import dispatch
from ..dispatch import Matmul, Settings
from ..errors import ArgumentError
from . import _check
from ._check import Array
from ._epilogue import activate, fused, known_activation


def matmul(
    a: Any,
    b: Any,
    *,
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    precision: str | None = None,
    max_workspace_bytes: int | None = None,
) -> Array:
    """The matrix product, with ``numpy.matmul``'s rules for vectors and stacks of matrices.

    Parameters
    ----------
    a : (…, M, K) or (K,), float32 or float64
    b : (…, K, N) or (K,), dtype of ``a``
        Leading axes are broadcast against each other.
    out : (…, M, N), optional
        Overwritten in place; C-contiguous, of ``a``'s dtype, overlapping with no input.
    algorithm, target, accuracy, precision : str, optional
        See ``fastconv.use``.
    max_workspace_bytes : int, optional
        Kernels whose workspace is larger refuse.

    Returns
    -------
    (…, M, N)
        ``out`` if it was given.  A vector's axis is left out, as NumPy does.

    Raises
    ------
    ArgumentError, DtypeError
        An argument of a wrong shape or dtype.
    UnsupportedError, TargetUnavailableError
        No kernel computes it as asked.

    Notes
    -----
    Work 2*M*N*K flop for each matrix.
    """
    a = _check.array("a", a)
    b = _check.array("b", b, a.dtype.newbyteorder("="))
    shape = _product_shape(a.shape, b.shape)
    out = _check.output(out, shape, b.dtype.newbyteorder("="), {"a": a, "b": b})
    rows, columns = a[None, :] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    stack = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
    if columns.ndim == 2 and rows.flags.c_contiguous:  # one matrix for all of the stack: one product
        rows, stack = rows.reshape(prod(rows.shape[:-1]), rows.shape[-1]), ()
    (M, K), N = rows.shape[-2:], columns.shape[-1]
    lender = dispatch.lender(
        "matmul",
        "forward",
        Matmul(M, N, K, out.dtype.name),
        Settings(target, algorithm, None, accuracy, precision),
        max_workspace_bytes,
    )
    rows, columns = np.broadcast_to(rows, (*stack, M, K)), np.broadcast_to(columns, (*stack, K, N))
    products = out.reshape(*stack, M, N)
    with lender.lend() as plan:
        for index in np.ndindex(stack):
            plan(_operand(rows[index]), _operand(columns[index]), products[index])
    return out


def linear(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    activation: str | None = None,
    residual: Any = None,
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    precision: str | None = None,
    max_workspace_bytes: int | None = None,
) -> Array:
    """A fully connected layer: activation(x @ weight.T + bias + residual).

    Parameters
    ----------
    x : (…, features), float32 or float64
    weight : (units, features), dtype of ``x``
        As torch has it.
    bias : (units,), optional
    activation : str, optional
        "relu" is fused into the product; leaky_relu, elu, sigmoid and tanh follow it.
    residual : (…, units), optional
        Added before the activation.
    out : (…, units), optional
        Overwritten in place; C-contiguous, of ``x``'s dtype, overlapping with no input.
    algorithm, target, accuracy, precision, max_workspace_bytes
        See ``matmul``.

    Returns
    -------
    (…, units)

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``matmul``.
    """
    known_activation(activation)
    x = _check.array("x", x)
    dtype = x.dtype.newbyteorder("=")
    weight = _check.array("weight", weight, dtype)
    if x.ndim < 1:
        raise ArgumentError("x: expected (…, features), got a number")
    if weight.ndim != 2 or weight.shape[1] != x.shape[-1]:
        raise ArgumentError(f"weight: expected (units, features) with {x.shape[-1]} features, got shape {weight.shape}")
    rows, units = prod(x.shape[:-1]), weight.shape[0]
    shape = (*x.shape[:-1], units)
    bias = None if bias is None else _check.contiguous(_check.shaped("bias", bias, (units,), dtype))
    residual = None if residual is None else _check.shaped("residual", residual, shape, dtype)
    out = _check.output(out, shape, dtype, {"x": x, "weight": weight, "bias": bias, "residual": residual})
    lender = dispatch.lender(
        "matmul",
        "forward",
        Matmul(rows, units, x.shape[-1], dtype.name),
        Settings(target, algorithm, None, accuracy, precision),
        max_workspace_bytes,
    )
    matrix = _operand(x) if x.ndim == 2 else _check.contiguous(x).reshape(rows, x.shape[-1])
    addend = None if residual is None else _check.contiguous(residual).reshape(rows, units)
    with lender.lend() as plan:
        plan(matrix, _operand(weight.T), out.reshape(rows, units), bias, addend, fused(activation))
    activate(activation, out, lender.kernel.target)
    return out


def _product_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The product's shape, by ``numpy.matmul``'s rules."""
    for name, shape in (("a", a), ("b", b)):
        if not shape:
            raise ArgumentError(f"{name}: expected at least one axis, got a number")
    summed = b[0] if len(b) == 1 else b[-2]
    if a[-1] != summed:
        raise ArgumentError(f"b: expected {a[-1]} rows, as many as a has columns, got shapes {a} and {b}")
    try:
        stack = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise ArgumentError(f"b: expected leading axes that broadcast with those of a, got shapes {a} and {b}") from None
    return (*stack, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


def _operand(matrix: Array) -> Array:
    """``matrix`` as plans take it: C-contiguous or the transpose of such, copied only if it is neither."""
    if matrix.T.flags.c_contiguous and not matrix.flags.c_contiguous:
        return _check.contiguous(matrix.T).T
    return _check.contiguous(matrix)
