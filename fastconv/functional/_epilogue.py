"""What follows a sum: the activation that a plan applies itself, or one that is applied to its result."""

from __future__ import annotations

from .. import dispatch
from ..dispatch import ELEMENTWISE, Elementwise
from ._check import Array, one_of

PARAMETERS = {"leaky_relu": 0.01, "elu": 1.0}
"""Slope and alpha of a fused activation, torch's defaults."""


def known_activation(activation: str | None) -> None:
    """Raise ``ArgumentError`` for an activation that does not exist."""
    one_of("activation", activation, (None, *ELEMENTWISE))


def fused(activation: str | None) -> str | None:
    """What of ``activation`` a plan computes itself."""
    return activation if activation == "relu" else None


def activate(activation: str | None, out: Array, target: str, had_fused: bool = True) -> None:
    """Apply ``activation`` to ``out``, in place, unless the plan ``had_fused`` what can be."""
    if activation is None or (had_fused and fused(activation)):
        return
    problem = Elementwise(activation, out.size, out.dtype.name, PARAMETERS.get(activation, 0.0))
    with dispatch.leased("elementwise", "forward", problem, target=target) as plan:
        flat = out.reshape(-1)
        plan(flat, flat)
