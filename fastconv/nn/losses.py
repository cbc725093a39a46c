"""Losses: what training makes small.

Both names are the cross-entropy of the softmax of the model's outputs, computed from the outputs themselves ("logits"), so
that no digits are lost: loss = log(sum of exp(logits)) - logits[label], the mean over the batch.  They differ in the labels
that one usually has for them, and each takes both kinds: integers or one-hot rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastconv import dispatch

from . import checks
from .parameters import Array
from .planning import Engine, Memory


@dataclass(frozen=True)
class Loss:
    """A loss by its name; ``plan`` makes it ready for one batch size."""

    name: str

    def plan(self, engine: Engine, memory: Memory, batch: int, classes: int) -> CrossEntropy:
        """The loss of ``batch`` images; buffers come from ``memory``."""
        return CrossEntropy(engine, memory, batch, classes)


class CrossEntropy:
    """Cross-entropy and its gradient in one pass over the logits.

    Attributes
    ----------
    grad : (N, classes)
        Of the mean loss with respect to the logits: (softmax - one-hot) / N.
    losses : (N,)
    """

    def __init__(self, engine: Engine, memory: Memory, batch: int, classes: int) -> None:
        self._plan = engine.plan("cross_entropy", "forward", dispatch.Rows(batch, classes, engine.dtype))
        self.losses = memory.take("loss.losses", (batch,), engine.dtype)
        self.grad = memory.take("loss.grad", (batch, classes), engine.dtype)

    def __call__(self, logits: Array, labels: Array) -> None:
        """Fill ``losses``, and ``grad``, which is that of their mean.

        Parameters
        ----------
        logits : (N, classes) float
        labels : (N,) int64
        """
        self._plan(logits, labels, self.losses, self.grad)


LOSSES = ("sparse_categorical_crossentropy", "categorical_crossentropy")


def get(loss: str | Loss) -> Loss:
    """A loss from its name."""
    return loss if isinstance(loss, Loss) else Loss(checks.one_of("loss", loss, LOSSES))
