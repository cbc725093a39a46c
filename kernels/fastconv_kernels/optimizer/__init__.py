"""Optimizers: the ranked tables, best first, the reference last.  Plans update flat arrays (size,) in place:

sgd   ``plan(parameters, gradients, velocity=None, *, learning_rate, momentum=0, nesterov=False, weight_decay=0)``;
      momentum needs the ``velocity``, zeros before the first step
adam  ``plan(parameters, gradients, mean, square, *, step, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0,
      decoupled=False)``; ``step`` counts from 1, both moments are zeros before it; ``decoupled`` makes it AdamW
"""

from __future__ import annotations

from ..registry import Kernel, deferred, single_precision
from . import flat_cpu, reference

_FLAT, _REFERENCE = "One pass over flat arrays.", "The formulas of torch.optim on whole arrays."
_ADAM = "Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015"
_SGD = "Sutskever et al., On the importance of initialization and momentum in deep learning, 2013"


def _on_cuda(operator: str, plan: str, source: str) -> Kernel:
    made = deferred("optimizer.stream_cuda", plan)
    summary = "One launch for all parameters, 16 bytes of each array at a time."
    return Kernel(operator, "update", "stream", "cuda", made, refuses=single_precision, summary=summary, source=source)


SGD_UPDATE = [
    Kernel("sgd", "update", "flat", "cpu", flat_cpu.Sgd, summary=_FLAT, source=_SGD),
    _on_cuda("sgd", "Sgd", _SGD),
    Kernel("sgd", "update", "reference", "numpy", reference.Sgd, summary=_REFERENCE, source=_SGD),
]

ADAM_UPDATE = [
    Kernel("adam", "update", "flat", "cpu", flat_cpu.Adam, summary=_FLAT, source=_ADAM),
    _on_cuda("adam", "Adam", _ADAM),
    Kernel("adam", "update", "reference", "numpy", reference.Adam, summary=_REFERENCE, source=_ADAM),
]
