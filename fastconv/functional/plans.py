"""Plans: a convolution whose shapes, choices and workspace are settled once, for many calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv_kernels.cuda.device_array import DeviceArray

from .. import dispatch
from ..dispatch import Settings
from ..errors import ArgumentError
from . import _check
from ._check import Array, Ints
from ._epilogue import activate, fused, known_activation
from ._launch import run_packed
from ._layout import filters
from ._placement import anywhere


@dataclass(frozen=True)
class PackedWeight:
    """Weights in the form of one plan's kernel; made by ``ConvPlan.pack``."""

    plan: ConvPlan
    data: Any


class ConvPlan:
    """A forward convolution of one shape; made by ``plan_conv2d``.

    Attributes
    ----------
    problem : fastconv.Conv
    name, algorithm, target : str
        Of the kernel that was chosen.
    threads : int
    workspace_bytes, flops, bytes : int
        Of one call; bytes: input, weight and output once.
    """

    def __init__(self, problem: dispatch.Conv, asked: Settings, most_bytes: int | None, activation: str | None) -> None:
        self.problem, self.activation, self._asked = problem, activation, (asked, most_bytes)
        self._lender = lender = dispatch.lender("conv", "forward", problem, *self._asked, with_arrays=False)
        self.name, self.algorithm, self.target = lender.kernel.name, lender.kernel.algorithm, lender.kernel.target
        self.threads, self.workspace_bytes = lender.threads, lender.workspace_bytes
        self.flops, self.bytes = problem.flops, problem.bytes

    def __repr__(self) -> str:
        return f"ConvPlan({self.name}, {self.problem}, threads={self.threads}, workspace_bytes={self.workspace_bytes})"

    def _lender_here(self) -> dispatch.Lender:
        """The lender of plans for the arrays of a call."""
        if self.target == "cuda":  # each stream has workspaces of its own; without one, the call begins anew on a device
            return dispatch.lender("conv", "forward", self.problem, *self._asked)
        return self._lender

    @anywhere
    def pack(self, weight: Any) -> PackedWeight:
        """The weights in the kernel's own form, to be used in any number of calls.

        Parameters
        ----------
        weight : problem.weight_shape
            Later changes of it do not reach what was packed.

        Raises
        ------
        ArgumentError, DtypeError
        """
        problem, lender = self.problem, self._lender_here()
        weight = _check.shaped("weight", weight, problem.weight_shape, np.dtype(problem.dtype))
        with lender.lend() as plan:
            packed = plan.pack(filters(weight, problem.layout, plan.problem.layout))
        if isinstance(packed, DeviceArray) and np.may_share_memory(packed, weight):
            packed = packed.copy()
        return PackedWeight(self, packed)

    @anywhere
    def __call__(self, x: Any, weight: Any, bias: Any = None, residual: Any = None, out: Array | None = None) -> Array:
        """activation(x * weight + bias + residual), as ``conv2d`` computes it.

        Parameters
        ----------
        x : problem.x_shape
        weight : PackedWeight of this plan, or problem.weight_shape
        bias : (K,), optional
        residual, out : problem.out_shape, optional

        Returns
        -------
        problem.out_shape

        Raises
        ------
        ArgumentError, DtypeError
        """
        problem, dtype = self.problem, np.dtype(self.problem.dtype)
        lender = self._lender_here()
        x = _check.shaped("x", x, problem.x_shape, dtype)
        inputs: dict[str, Array | None] = {"x": x}
        if not isinstance(weight, PackedWeight):
            inputs["weight"] = weight = _check.shaped("weight", weight, problem.weight_shape, dtype)
        elif weight.plan is not self:
            raise ArgumentError(f"weight: expected what this plan has packed, got what {weight.plan} has")
        if bias is not None:
            inputs["bias"] = bias = _check.contiguous(_check.shaped("bias", bias, (problem.K,), dtype))
        if residual is not None:
            inputs["residual"] = residual = _check.shaped("residual", residual, problem.out_shape, dtype)
        out = _check.output(out, problem.out_shape, dtype, inputs)
        packed = weight if isinstance(weight, PackedWeight) else self.pack(weight)
        plan = lender.take()
        run_packed(lender, plan, problem.layout, x, packed.data, out, bias, residual, fused(self.activation))
        lender.give_back(plan)
        activate(self.activation, out, self.target)
        return out


def plan_conv2d(
    x_shape: Any,
    weight_shape: Any,
    stride: Ints = 1,
    padding: Any = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    dtype: Any = "float32",
    activation: str | None = None,
    layout: str = "NCHW",
    threads: int | None = None,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    precision: str | None = None,
    max_workspace_bytes: int | None = None,
) -> ConvPlan:
    """Settle a forward convolution: which kernel, with which tables, threads and workspace.

    Parameters
    ----------
    x_shape : (N, C, H, W)
        (N, H, W, C) with ``layout="NHWC"``.
    weight_shape : (K, C / groups, R, S)
        (R, S, C / groups, K) with ``layout="NHWC"``.
    dtype : float32 or float64
    threads : int, optional
        At least 1; results have the same bits for any number.
    stride, padding, dilation, groups, activation, layout, algorithm, target, accuracy, precision, max_workspace_bytes
        As in ``conv2d``.

    Returns
    -------
    ConvPlan
        ``plan(x, weight, bias=None, residual=None, out=None)``, which Python threads may call at the same time.

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``conv2d``.
    """
    known_activation(activation)
    _check.one_of("layout", layout, dispatch.LAYOUTS)
    problem = _check.conv_problem(
        _check.shape("x_shape", x_shape, (4,)),
        _check.shape("weight_shape", weight_shape, (4,)),
        stride,
        padding,
        dilation,
        groups,
        _check.dtype_name("dtype", dtype),
        layout,
        ("x_shape", "weight_shape"),
    )
    asked = Settings(target, algorithm, threads, accuracy, precision, prepared=True)
    return ConvPlan(problem, asked, max_workspace_bytes, activation)
