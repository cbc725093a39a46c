"""The loop: batches in, gradients back, parameters updated; and the same without the last two."""

from __future__ import annotations

from math import isfinite
from time import perf_counter
from typing import NamedTuple

import numpy as np

from fastconv.errors import TrainingError

from .batches import Input
from .history import History
from .losses import Loss
from .metrics import Correct
from .network import Network
from .optimizers import Updates
from .parameters import Array
from .progress import Progress


class Data(NamedTuple):
    """Checked images (N, …) and their labels (N,) int64."""

    x: Array
    y: Array


class Batch:
    """The network, its input, its loss and its metrics for one batch size: everything one step needs."""

    def __init__(self, network: Network, loss: Loss, accuracy: bool, size: int, data: Data, training: bool) -> None:
        memory, engine = network.memory, network.engine
        self.state = network.state
        self.plan = network.plan(size, training, logits=True)
        self.input = Input(memory, size, network.input_shape, data.x.dtype, engine.dtype)
        self.loss = loss.plan(engine, memory, size, network.output_shape[0])
        self._correct = Correct(memory, size) if accuracy else None

    def measure(self) -> tuple[float, int]:
        """(sum of losses, images classified right) of the loaded batch."""
        outputs = self.plan.forward(self.input.images)
        loss = self.loss(outputs, self.input.labels)
        return loss, 0 if self._correct is None else self._correct(outputs, self.input.labels)

    def rehearse(self) -> None:
        """Run a step on nothing, so that all kernels are compiled; parameters and state stay as they are."""
        if not self.plan.rehearsed:
            self.state.keep()
            self.input.images.fill(0)
            self.input.labels.fill(0)
            self.measure()
            self.plan.backward(self.loss.grad)
            self.state.restore()
            self.plan.rehearsed = True


class Trainer:
    """A network with a loss, metrics and an optimizer at work.

    Parameters
    ----------
    order : numpy.random.Generator
        Of the order of the images in each epoch.
    """

    def __init__(self, network: Network, loss: Loss, accuracy: bool, updates: Updates, order: np.random.Generator) -> None:
        self.network, self.loss, self.accuracy = network, loss, accuracy
        self.updates, self._order = updates, order

    def fit(
        self,
        data: Data,
        validation: Data | None,
        epochs: int,
        batch_size: int,
        shuffle: bool,
        progress: Progress,
        history: History,
    ) -> None:
        """Train, recording into ``history`` after each epoch."""
        began = perf_counter()
        batches = self.batches(data, batch_size, training=True)
        for batch in batches.values():
            batch.rehearse()
        self.updates.rehearse()
        order = np.arange(len(data.x))
        history.compile_seconds = perf_counter() - began
        for epoch in range(1, epochs + 1):
            if shuffle:
                self._order.shuffle(order)
            progress.start_epoch(epoch)
            began = perf_counter()
            metrics = self._epoch(data, batches, order, epoch, progress)
            seconds = perf_counter() - began
            if validation is not None:
                metrics |= {f"val_{name}": value for name, value in self.evaluate(validation, batch_size).items()}
            history.record(metrics, len(order), seconds)
            progress.end_epoch(metrics, seconds)

    def batches(self, data: Data, batch_size: int, training: bool) -> dict[int, Batch]:
        """By size: the batches into which ``data`` falls, all equal but for the last."""
        sizes = {min(batch_size, len(data.x)), len(data.x) % batch_size} - {0}
        return {
            size: Batch(self.network, self.loss, self.accuracy, size, data, training) for size in sorted(sizes, reverse=True)
        }

    def _epoch(self, data: Data, batches: dict[int, Batch], order: Array, epoch: int, progress: Progress) -> dict[str, float]:
        total, right, done, size = 0.0, 0, 0, max(batches)
        while done < len(order):
            indices = order[done : done + size]
            batch = batches[len(indices)]
            loss, correct = self.step(batch, data, indices, epoch, done // size + 1)
            total += loss
            right += correct
            done += len(indices)
            progress.step(done, total, right)
        return self._means(total, right, done)

    def step(self, batch: Batch, data: Data, indices: Array, epoch: int, step: int) -> tuple[float, int]:
        """One update from the images at ``indices``: (sum of losses, images classified right), both before the update.

        Raises
        ------
        TrainingError
            The loss is no longer finite; the parameters are those before the step.
        """
        batch.input.gather(data.x, data.y, indices)
        batch.plan.prepare()
        batch.state.keep()
        loss, correct = batch.measure()
        if not isfinite(loss):
            batch.state.restore()
            raise TrainingError(
                f"loss: it is {loss} at step {step} of epoch {epoch}; the weights are as they were before this step. "
                "Try a smaller learning rate, and look for NaN or huge values in x"
            )
        batch.plan.backward(batch.loss.grad)
        self.updates.apply()
        return loss, correct

    def evaluate(self, data: Data, batch_size: int) -> dict[str, float]:
        """The mean loss and the accuracy."""
        batches = self.batches(data, batch_size, training=False)
        for batch in batches.values():
            batch.plan.prepare()
        total, right, done, size = 0.0, 0, 0, max(batches)
        while done < len(data.x):
            batch = batches[min(size, len(data.x) - done)]
            batch.input.slice(data.x, done, data.y)
            loss, correct = batch.measure()
            total += loss
            right += correct
            done += len(batch.input.images)
        return self._means(total, right, done)

    def _means(self, total: float, right: int, images: int) -> dict[str, float]:
        return {"loss": total / images} | ({"accuracy": right / images} if self.accuracy else {})
