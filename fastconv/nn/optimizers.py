"""Optimizers: how parameters follow their gradients.

An ``Optimizer`` is a description; ``start`` gives it the state it needs for one model.  All parameters are in one flat array,
so that a step is one launch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from fastconv import dispatch
from fastconv.errors import ArgumentError

from . import checks
from .parameters import Array, Parameters
from .place import Steps
from .planning import Engine, Memory
from .schedules import Constant

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Optimizer:
    """The base of all optimizers.

    Parameters
    ----------
    learning_rate : float or callable (step) -> float
        A number, or a schedule of ``fastconv.nn.schedules``; steps count from 0.
    """

    operator: ClassVar[str]
    learning_rate: float | Schedule

    def __post_init__(self) -> None:
        if not callable(self.learning_rate):
            checks.number("learning_rate", self.learning_rate)
        for field in fields(self):
            if field.type == "float":
                checks.number(field.name, getattr(self, field.name))

    @property
    def states(self) -> int:
        """How many numbers are remembered for each parameter."""
        raise NotImplementedError

    @property
    def constants(self) -> dict[str, Any]:
        """The kernel's arguments but for the rate; ``step``, if the kernel wants it, is counted."""
        raise NotImplementedError

    def start(self, parameters: Parameters, engine: Engine, memory: Memory) -> Updates:
        """The optimizer at work on one model's parameters."""
        return Updates(self, parameters, engine, memory)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent as PyTorch defines it.

    g = gradient + weight_decay * p, v = momentum * v + g, p = p - learning_rate * (g + momentum * v if nesterov else v).
    The state is v, zero at first; without momentum there is none.
    """

    operator = "sgd"
    learning_rate: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and not self.momentum:
            raise ArgumentError("nesterov: expected a momentum above 0 with it")

    @property
    def states(self) -> int:
        return 1 if self.momentum else 0

    @property
    def constants(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "nesterov": self.nesterov, "weight_decay": self.weight_decay}


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam with corrected bias, as PyTorch defines it.

    ``weight_decay`` adds weight_decay * p to the gradient, or, ``decoupled``, shrinks p by learning_rate * weight_decay
    instead (AdamW).  The state is the running means of the gradient and of its square, which ``beta1`` and ``beta2`` let
    decay; ``epsilon`` is added to the root of the second.

    Sources: Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015; Loshchilov & Hutter, "Decoupled Weight Decay
    Regularization", 2019.
    """

    operator = "adam"
    learning_rate: float | Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beta1", "beta2"):
            checks.number(name, getattr(self, name), below=1.0)

    @property
    def states(self) -> int:
        return 2

    @property
    def constants(self) -> dict[str, Any]:
        return {
            "step": 0,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "epsilon": self.epsilon,
            "weight_decay": self.weight_decay,
            "decoupled": self.decoupled,
        }


class Updates:
    """An optimizer with its state for one model.

    Attributes
    ----------
    steps : Steps
        How many updates there have been, and what the next one has.
    state : list of arrays
        As flat as the parameters.
    """

    def __init__(self, optimizer: Optimizer, parameters: Parameters, engine: Engine, memory: Memory) -> None:
        values, self._gradients = parameters.values, parameters.gradients
        self.state: list[Array] = [memory.place.zeros(values.size, engine.dtype) for _ in range(optimizer.states)]
        plan = engine.plan(optimizer.operator, "update", dispatch.Update(values.size, engine.dtype))
        self.steps: Steps = memory.place.steps(memory, plan, (values, self._gradients, *self.state))
        self._constants = optimizer.constants
        rate = optimizer.learning_rate
        self._rate: Schedule = rate if callable(rate) else Constant(float(rate))

    def begin(self, order: Array, batch: int) -> None:
        """An epoch of the images in this ``order``, ``batch`` in each step."""
        self.steps.begin(order, batch, lambda step: self._arguments(step, float(self._rate(step))))

    def apply(self) -> None:
        """Update the parameters with their gradients, in place; the next step follows."""
        self.steps.update()
        self.steps.advance()

    def rehearse(self) -> None:
        """Compile what ``apply`` will run, by an update at rate 0; nothing is done after the first step."""
        if self.steps.taken == 0:
            self._gradients.fill(0)
            self.steps.rehearse(lambda step: self._arguments(step, 0.0))
            for state in self.state:  # a weight decay has moved it
                state.fill(0)

    def _arguments(self, step: int, rate: float) -> dict[str, Any]:
        """Of the plan."""
        counted = {"step": step + 1} if "step" in self._constants else {}
        return {**self._constants, **counted, "learning_rate": rate}


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam}


def get(optimizer: str | Optimizer) -> Optimizer:
    """An optimizer from its name, with its defaults."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    return OPTIMIZERS[checks.one_of("optimizer", optimizer, OPTIMIZERS)]()
