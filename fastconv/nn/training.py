"""The loop: batches in, gradients back, parameters updated; and the same without the last two."""

from __future__ import annotations

from contextlib import suppress
from math import isfinite
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastconv.errors import TrainingError

from .batches import Data
from .history import History
from .losses import CrossEntropy, Loss
from .network import PLANS, Network
from .optimizers import Updates
from .place import Array, Input, Tally, Unusable
from .progress import Progress


class Ends(NamedTuple):
    """What comes before and after the network for one batch size and one type of images."""

    input: Input
    loss: CrossEntropy
    tally: Tally


def ends(network: Network, loss: Loss, accuracy: bool, size: int, dtype: Any) -> Ends:
    """New ones."""
    memory, engine, place = network.memory, network.engine, network.place
    return Ends(
        place.input(memory, size, network.input_shape, dtype, engine),
        loss.plan(engine, memory, size, network.output_shape[0]),
        place.tally(memory, size, accuracy),
    )


class Batch:
    """The network and its ends for one batch size: everything one step needs.

    ``updates`` are the optimizer's; without them nothing is learned.
    """

    def __init__(self, network: Network, around: Ends, size: int, data: Data, updates: Updates | None) -> None:
        self.state, self.data, self._updates = network.state, data, updates
        self.plan = network.plan(size, updates is not None, logits=True)
        self.input, self.loss, self.tally = around
        self.step = network.place.repeated(self._step)

    def measure(self) -> None:
        """Add the losses of the loaded batch, and the images classified right, to the tally."""
        outputs, labels = self.plan.forward(self.input.images), self.input.labels
        self.loss(outputs, labels)
        self.tally.add(outputs, labels, self.loss.losses)

    def _step(self) -> None:
        """Load the next images, learn from them, update the parameters; ``step`` does the same.

        Raises
        ------
        Unusable
            The loss is no longer finite; all is as it was before the step.
        """
        assert self._updates is not None
        self.input.gather(self.data.x, self.data.y, self._updates.steps)
        self._learn()
        self._updates.apply()

    def _learn(self) -> None:
        """Measure, and compute the gradients of all parameters.

        Raises
        ------
        Unusable
            The loss is no longer finite; gradients and state are as they were.
        """
        self.plan.prepare()
        self.state.keep()
        self.measure()
        try:
            self.tally.check()
        except Unusable:
            self.state.restore()
            raise
        self.plan.backward(self.loss.grad)

    def rehearse(self) -> None:
        """Run a step on black images, so that all kernels are compiled; parameters and state stay as they are."""
        if not self.plan.rehearsed:
            self.input.slice(self.data.x, 0, self.data.y)
            self.input.images.fill(0)
            self.tally.start()
            with suppress(Unusable):
                self._learn()
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
        self._ends: dict[tuple[int, Any], Ends] = {}

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
        data, validation = self._brought(data), validation and self._brought(validation)
        batches = self.batches(data, batch_size, self.updates)
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
            metrics = self._epoch(batches, order, epoch, progress)
            seconds = perf_counter() - began
            if validation is not None:
                metrics |= {f"val_{name}": value for name, value in self._evaluated(validation, batch_size).items()}
            history.record(metrics, len(order), seconds)
            progress.end_epoch(metrics, seconds)

    def batches(self, data: Data, batch_size: int, updates: Updates | None) -> dict[int, Batch]:
        """By size: the batches into which ``data`` falls, all equal but for the last."""
        sizes = {min(batch_size, len(data.x)), len(data.x) % batch_size} - {0}
        return {
            size: Batch(self.network, self._ends_for(size, data.x.dtype), size, data, updates)
            for size in sorted(sizes, reverse=True)
        }

    def _ends_for(self, size: int, dtype: Any) -> Ends:
        """Those of earlier calls: to plan them takes as long as a step of a small network."""
        found = self._ends.pop((size, dtype), None) or ends(self.network, self.loss, self.accuracy, size, dtype)
        self._ends[size, dtype] = found  # the one used last is the last
        if len(self._ends) > PLANS:
            del self._ends[next(iter(self._ends))]
        return found

    def _brought(self, data: Data) -> Data:
        """The data set where the network is."""
        return Data(*map(self.network.place.put, data))

    def _epoch(self, batches: dict[int, Batch], order: Array, epoch: int, progress: Progress) -> dict[str, float]:
        done, size = 0, max(batches)
        tally = batches[size].tally
        tally.start()
        before = self._kept()
        self.updates.begin(order, size)
        while done < len(order):
            batch = batches[min(size, len(order) - done)]
            self.step(batch, epoch, done // size + 1)
            done += len(batch.input.images)
            if progress.due():
                progress.step(done, *self._read(tally, before, epoch))
        totals = self._read(tally, before, epoch)
        self.updates.steps.end()
        return self._means(*totals, done)

    def step(self, batch: Batch, epoch: int, step: int) -> None:
        """One update from the next images of the epoch; the batch's tally counts what they were before it.

        Raises
        ------
        TrainingError
            The loss is no longer finite; the parameters are those before the step.  Where reading it would mean waiting,
            nobody looks before the epoch's end.
        """
        try:
            batch.step()
        except Unusable:
            loss, _ = batch.tally.read()
            raise _no_number(loss, f"at step {step} of epoch {epoch}", "step") from None

    def _kept(self) -> list[tuple[Array, Array]]:
        """All that a step changes, and where it is kept if steps cannot look at their losses."""
        if not self.network.place.waits:
            return []
        changing = [self.network.parameters.values, self.network.state.values, *self.updates.state]
        return [(array, array.copy()) for array in changing]

    def _read(self, tally: Tally, before: list[tuple[Array, Array]], epoch: int) -> tuple[float, int]:
        """(sum of losses, images classified right); where the sum is not finite, all is as it was ``before`` the epoch."""
        loss, right = tally.read()
        if not isfinite(loss):
            for array, kept in before:
                np.copyto(array, kept)
            raise _no_number(loss, f"in epoch {epoch}", "epoch")
        return loss, right

    def evaluate(self, data: Data, batch_size: int) -> dict[str, float]:
        """The mean loss and the accuracy."""
        return self._evaluated(self._brought(data), batch_size)

    def _evaluated(self, data: Data, batch_size: int) -> dict[str, float]:
        batches = self.batches(data, batch_size, None)
        for batch in batches.values():
            batch.plan.prepare()
        done, size = 0, max(batches)
        tally = batches[size].tally
        tally.start()
        while done < len(data.x):
            batch = batches[min(size, len(data.x) - done)]
            batch.input.slice(data.x, done, data.y)
            batch.measure()
            done += len(batch.input.images)
        return self._means(*tally.read(), done)

    def _means(self, total: float, right: int, images: int) -> dict[str, float]:
        return {"loss": total / images} | ({"accuracy": right / images} if self.accuracy else {})


def _no_number(loss: float, where: str, before: str) -> TrainingError:
    return TrainingError(
        f"loss: it is {loss} {where}; the weights are as they were before this {before}. "
        "Try a smaller learning rate, and look for NaN or huge values in x"
    )
