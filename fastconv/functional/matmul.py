"""The matrix product and the linear layer built on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy import empty, ndarray  # for what is asked at every call

from .. import dispatch
from ..dispatch import Matmul, around
from ..errors import ArgumentError
from . import _check
from ._check import Array
from ._epilogue import activate, fused, known_activation
from ._launch import lent
from ._placement import anywhere, elsewhere


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
    try:
        if algorithm is target is accuracy is precision is None and max_workspace_bytes is None:
            number = _at_a_glance(a, b, out)
            if number >= 0:
                product = _numbered(number)
                if out is None:
                    out = product.new(a)
                product.compute(a, b, out)
                return out
        if a.__class__ is not ndarray or b.__class__ is not ndarray:
            a, b = _check.host("a", a), _check.host("b", b)
        if algorithm is target is accuracy is precision is None and max_workspace_bytes is None:
            product = _known(a.shape, b.shape, a.dtype, b.dtype)
        else:
            asked = algorithm, target, accuracy, precision, max_workspace_bytes
            product = _product(around(), a.shape, b.shape, a.dtype, b.dtype, *asked)
        out = product.new(a) if out is None else _check.output(out, product.shape, product.dtype, {"a": a, "b": b})
        product.into(out, a, b)
        return out
    except dispatch.Elsewhere:  # as ``anywhere`` would, which takes a twentieth of a small product's time
        pass
    named = {"algorithm": algorithm, "target": target, "accuracy": accuracy, "precision": precision}
    return elsewhere(matmul, (a, b), {"out": out, "max_workspace_bytes": max_workspace_bytes, **named})  # type: ignore[no-any-return]


@anywhere
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
    if x.__class__ is not ndarray or weight.__class__ is not ndarray:
        x, weight = _check.host("x", x), _check.host("weight", weight)
    if algorithm is target is accuracy is precision is None and max_workspace_bytes is None:
        layer = _known_layer(x.shape, weight.shape, x.dtype, weight.dtype, activation)
    else:
        asked = algorithm, target, accuracy, precision, max_workspace_bytes
        layer = _layer(around(), x.shape, weight.shape, x.dtype, weight.dtype, activation, *asked)
    if bias is not None and not _check.ready(bias, weight.shape[:1], layer.dtype):
        bias = _check.contiguous(_check.shaped("bias", bias, weight.shape[:1], layer.dtype))
    if residual is not None and not _check.ready(residual, layer.shape, layer.dtype):
        residual = _check.contiguous(_check.shaped("residual", residual, layer.shape, layer.dtype))
    if out is None and layer.small:
        out = empty(layer.shape, layer.dtype)
    else:
        out = _check.output(out, layer.shape, layer.dtype, {"x": x, "weight": weight, "bias": bias, "residual": residual})
    layer.into(out, x, weight.T, bias, residual, fused(activation))
    if activation is not None:
        activate(activation, out, layer.lender.kernel.target)
    return out


@dataclass(frozen=True, slots=True)
class _Product:
    """What is settled for all products of arrays of the same shapes: the result's, and who computes it.

    Attributes
    ----------
    shape, dtype, lender
    compute
        ``lender``'s call.
    reshaped : three shapes, or None
        Of a, b and the result for the plan, where they are others: of a vector, of a stack with one matrix.
    small : bool
        The result is an array on the host, too small to be worth a place that begins on a cache line.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    lender: dispatch.Lender
    reshaped: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None
    small: bool
    compute: Callable[..., None]

    def new(self, beside: Any) -> Array:
        """For the result, where ``beside`` is."""
        return empty(self.shape, self.dtype) if self.small else _check.new(self.shape, self.dtype, beside)

    def into(
        self,
        out: Array,
        a: Array,
        b: Array,
        bias: Array | None = None,
        residual: Array | None = None,
        activation: str | None = None,
    ) -> None:
        """Write activation(a @ b + bias + residual) into ``out``."""
        # What is no view is aligned, and a matrix may have any strides; b is most often a weight's transpose.
        if a.dtype is not self.dtype or not (a.flags.carray or (a.base is None and a.ndim <= 2)):
            a = self._operand(a)
        if b.dtype is not self.dtype or not (
            b.flags.carray or (b.ndim <= 2 and (b.base is None or (b.flags.f_contiguous and b.flags.behaved)))
        ):
            b = self._operand(b)
        if self.reshaped is not None:
            a, b, out = map(np.reshape, (a, b, out), self.reshaped)
            residual = None if residual is None else residual.reshape(out.shape)
        self.compute(a, b, out, bias, residual, activation)

    def _operand(self, matrix: Array) -> Array:
        """``matrix`` as plans take it: copied only if its bytes or its elements are in no order for them."""
        matrix = _check.usable(matrix)
        if matrix.ndim == 2:
            return matrix if matrix.itemsize in matrix.strides else _check.contiguous(matrix)
        if matrix.flags.c_contiguous or (matrix.ndim > 2 and matrix.swapaxes(-2, -1).flags.c_contiguous):
            return matrix
        return _check.contiguous(matrix)


@dispatch.remembered
def _product(
    _around: dispatch.Around,
    a: tuple[int, ...],
    b: tuple[int, ...],
    dtype: np.dtype[Any],
    b_dtype: np.dtype[Any],
    *asked: Any,
) -> _Product:
    """The product of arrays of shapes ``a`` and ``b``, by ``numpy.matmul``'s rules."""
    dtype = _check.common_dtype(a=dtype, b=b_dtype)
    for name, shape in (("a", a), ("b", b)):
        if not shape:
            raise ArgumentError(f"{name}: expected at least one axis, got a number")
    rows, columns = a if len(a) > 1 else (1, *a), b if len(b) > 1 else (*b, 1)
    if rows[-1] != columns[-2]:
        raise ArgumentError(f"b: expected {rows[-1]} rows, as many as a has columns, got shapes {a} and {b}")
    if len(columns) == 2:  # one matrix for all of the stack: one product
        rows = prod(rows[:-1]), rows[-1]
    try:
        problem = Matmul(rows[-2], columns[-1], rows[-1], dtype.name, rows[:-2], columns[:-2])
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    shape = (*(a[:-2] if len(columns) == 2 else problem.stack), *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
    as_given = (a, b, shape) == (shapes := (problem.a_shape, problem.b_shape, problem.out_shape))
    lender = lent("matmul", "forward", problem, *asked)
    small = lender.kernel.target != "cuda" and prod(shape) * dtype.itemsize < dispatch.LARGE_BYTES
    return _Product(shape, dtype, lender, None if as_given else shapes, small, lender.__call__)


_known = dispatch.at_hand(_product)


@dispatch.at_hand
def _numbered(now: dispatch.Around, number: int) -> _Product:
    """The product that ``_at_a_glance`` has recognised."""
    from fastconv_kernels.matmul.at_a_glance import meant

    return _product(now, *meant(number))


def _first_glance(a: Any, b: Any, out: Any) -> int:
    """It is compiled when it is wanted."""
    global _at_a_glance
    from fastconv_kernels.matmul.at_a_glance import glance

    _at_a_glance = glance()
    return _at_a_glance(a, b, out)


_at_a_glance: Callable[[Any, Any, Any], int] = _first_glance
"""A number for a product of plain matrices, into a plain result or None; negative, if an argument is anything else."""


@dispatch.remembered
def _layer(
    around: dispatch.Around,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    dtype: np.dtype[Any],
    weight_dtype: np.dtype[Any],
    activation: str | None,
    *asked: Any,
) -> _Product:
    """The product of ``x`` with the transposed weight."""
    known_activation(activation)
    dtype = _check.common_dtype(x=dtype, weight=weight_dtype)
    if not x:
        raise ArgumentError("x: expected (…, features), got a number")
    if len(weight) != 2 or weight[1] != x[-1]:
        raise ArgumentError(f"weight: expected (units, features) with {x[-1]} features, got shape {weight}")
    return _product(around, x, weight[::-1], dtype, dtype, *asked)


_known_layer = dispatch.at_hand(_layer)
