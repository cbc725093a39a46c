"""Learning rates that change while a model trains: functions of the step, the first being step 0.

A step is one batch.  Any callable (step) -> rate will do in their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi

from . import checks


@dataclass(frozen=True)
class Constant:
    """The same rate at every step."""

    rate: float

    def __post_init__(self) -> None:
        checks.number("rate", self.rate)

    def __call__(self, step: int) -> float:
        return self.rate


@dataclass(frozen=True)
class StepDecay:
    """``rate``, multiplied by ``factor`` after every ``every`` steps."""

    rate: float
    factor: float
    every: int

    def __post_init__(self) -> None:
        checks.number("rate", self.rate)
        checks.number("factor", self.factor)
        checks.integer("every", self.every)

    def __call__(self, step: int) -> float:
        return float(self.rate * self.factor ** (step // self.every))


@dataclass(frozen=True)
class Cosine:
    """From ``rate`` down to ``final`` along half a cosine in ``steps`` steps, then ``final``.

    Source: Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017 (without the restarts).
    """

    rate: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        checks.number("rate", self.rate)
        checks.integer("steps", self.steps)
        checks.number("final", self.final)

    def __call__(self, step: int) -> float:
        return self.final + (self.rate - self.final) * (1 + cos(pi * min(step / self.steps, 1.0))) / 2
