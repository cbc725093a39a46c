"""What a model learns well with."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.errors import ArgumentError
from fastconv.nn.optimizers import OPTIMIZERS, Optimizer


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters that a model is known to learn well with.

    Attributes
    ----------
    optimizer : str
        A name of ``fastconv.nn.optimizers.OPTIMIZERS``.
    momentum : float
        Of "sgd" alone.
    """

    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    momentum: float = 0.0

    def make_optimizer(self, optimizer: str | None = None, learning_rate: float | None = None) -> Optimizer:
        """The recipe's optimizer, or another; one of another kind has its own default rate unless one is given.

        Raises
        ------
        ArgumentError
            There is no such optimizer.
        """
        name = optimizer or self.optimizer
        if name not in OPTIMIZERS:
            raise ArgumentError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, got {name!r}")
        options: dict[str, float] = {}
        if name == self.optimizer:
            options = {"learning_rate": self.learning_rate} | ({"momentum": self.momentum} if self.momentum else {})
        if learning_rate is not None:
            options["learning_rate"] = learning_rate
        return OPTIMIZERS[name](**options)
