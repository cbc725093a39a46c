"""A model: layers one after the other, and everything a user does with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastconv import dispatch
from fastconv.errors import ArgumentError, CheckpointError

from . import batches, checks, losses, optimizers, weights
from . import metrics as named_metrics
from .batches import Data
from .history import History
from .layers import Layer
from .layers.base import Shape, check_input_shape
from .network import ORDER, Network, generator, table
from .parameters import Array
from .planning import Engine
from .progress import progress_for
from .training import Trainer


class Sequential:
    """Layers one after the other.

    Parameters
    ----------
    layers : sequence of layers
    input_shape : (C, H, W) or (features,), optional
        Of one image; by default the first layer's, else the model is built for the first images it sees.
    seed : int
        Of the initial weights, the order of the images and what is dropped: with the same seed, data and calls a run repeats
        bit for bit, whatever the number of threads.
    dtype : "float32" or "float64"
        Of everything inside.

    Notes
    -----
    Images come in as (N, C, H, W), or (N, H, W) if C = 1, uint8 or float: bytes are scaled by 1/255 to [0, 1], floats are
    taken as they are.  Weights and biases start as PyTorch's Conv2d and Linear start theirs, uniform in
    ±1/sqrt(fan_in), so that both learn by the same recipe.

    Examples
    --------
    >>> from fastconv import nn
    >>> model = nn.Sequential([nn.Flatten(input_shape=(1, 8, 8)), nn.Dense(10)])
    >>> model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> model.parameter_count
    650
    """

    def __init__(
        self, layers: Sequence[Layer], *, input_shape: Shape | None = None, seed: int = 0, dtype: str = "float32"
    ) -> None:
        try:
            self.layers = tuple(layers)
        except TypeError:
            raise ArgumentError(f"layers: expected a sequence of layers, got {type(layers).__name__}") from None
        for index, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                raise ArgumentError(f"layers: expected layers of fastconv.nn, got {type(layer).__name__} at position {index}")
        if not self.layers:
            raise ArgumentError("layers: expected at least one layer, got none")
        self.seed = checks.integer("seed", seed, least=0)
        self.history = History()
        self._engine = Engine(checks.one_of("dtype", dtype, dispatch.FLOATS))
        self._network: Network | None = None
        self._trainer: Trainer | None = None
        self._compiled: tuple[optimizers.Optimizer, losses.Loss, bool, int] | None = None
        if (shape := input_shape or self.layers[0].input_shape) is not None:
            self.build(shape)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(type(layer).__name__ for layer in self.layers)})"

    # ------------------------------------------------------------------------------------------------ built

    def build(self, input_shape: Shape) -> None:
        """Make the parameters for images of ``input_shape``, (C, H, W) or (features,), unless that is done already.

        Raises
        ------
        ArgumentError
            A layer cannot take what it is given, or the model was built for another shape.
        """
        shape = check_input_shape(input_shape)
        if self._network is None:
            self._network = Network(self.layers, shape, self.seed, self._engine)
        elif self._network.input_shape != shape:
            raise ArgumentError(f"input_shape: the model was built for {self._network.input_shape}, got {shape}")

    @property
    def network(self) -> Network:
        """The built network, with ``names``, ``shapes`` and ``parameters``."""
        if self._network is None:
            raise ArgumentError("input_shape: the model is not built yet; give the first layer an input_shape, or call build")
        return self._network

    @property
    def parameters(self) -> Mapping[str, Array]:
        """The parameters by name, as "conv2d_1.weight": views, so that writing into them changes the model.

        Where the model is on a CUDA device, so are they, and ``fastconv.to_host`` copies one.
        """
        return self.network.parameters.value

    @property
    def state(self) -> Mapping[str, Array]:
        """What layers keep without learning it by a gradient, by name, as "batchnorm_1.running_mean": views."""
        return self.network.state.value

    @property
    def parameter_count(self) -> int:
        """How many numbers the model learns."""
        return self.network.parameters.count

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Print the layers with their output shapes and numbers of parameters."""
        print_fn(table(self.network))

    # --------------------------------------------------------------------------------------------- training

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "adam",
        loss: str | losses.Loss = "sparse_categorical_crossentropy",
        metrics: Sequence[str] = ("accuracy",),
        *,
        seed: int | None = None,
        threads: int | None = None,
        target: str | None = None,
    ) -> None:
        """Choose how the model learns and where it runs.  The weights stay; the optimizer begins anew.

        Parameters
        ----------
        optimizer : "sgd", "adam", or one of ``fastconv.nn.optimizers``
        loss : "sparse_categorical_crossentropy" or "categorical_crossentropy"
            Of the softmax of the outputs: the last layer gives logits.  A Softmax at the end is left out of the loss.
        metrics : ["accuracy"] or []
        seed : int, optional
            Of the order of the images and of what is dropped; by default the model's.
        threads : int, optional
        target : "auto", "cpu", "cuda" or "numpy", optional
            By default what ``fastconv.use`` and the environment say when the model is first used.  On a CUDA device data,
            weights, activations and the optimizer's state stay there; ``parameters`` are then arrays there.

        Raises
        ------
        ArgumentError, TargetUnavailableError
            A name or number that does not exist; a target that cannot run here.
        """
        chosen, measured = optimizers.get(optimizer), losses.get(loss)
        accuracy = "accuracy" in named_metrics.check(metrics)
        seed = self.seed if seed is None else checks.integer("seed", seed, least=0)
        dispatch.Settings(target=target, threads=threads).checked()
        self._engine = Engine(self._engine.dtype, target, threads)
        self._compiled, self._trainer = (chosen, measured, accuracy, seed), None
        if self._network is not None:
            self._network.run_on(self._engine)
            self._network.reseed(seed)

    def fit(
        self,
        x: Any,
        y: Any,
        epochs: int = 1,
        batch_size: int = 32,
        *,
        validation_split: float = 0.0,
        validation_data: tuple[Any, Any] | None = None,
        shuffle: bool = True,
        verbose: int = 1,
    ) -> History:
        """Train.

        Parameters
        ----------
        x : (N, C, H, W), (N, H, W) if C = 1, or (N, features); uint8 or float
        y : (N,) integers, or (N, classes) one-hot
        batch_size : int
            The last batch of an epoch may be smaller.
        validation_split : float
            The share of the images, in [0, 1), taken from the end before shuffling, that is only evaluated.
        validation_data : (x, y), optional
            Evaluated after each epoch.
        shuffle : bool
            Whether each epoch has an order of its own; the orders follow from the seed.
        verbose : 0, 1 or 2
            Silent; a bar on a terminal, else lines; lines.  They go to standard error.

        Returns
        -------
        History
            Also kept as ``model.history``: after an error or Ctrl-C it has the epochs that were finished, and the model can be
            used, trained further or saved.

        Raises
        ------
        ArgumentError, DtypeError
            Before anything is computed.
        TrainingError
            The loss is no longer a finite number.
        """
        epochs, batch_size = checks.integer("epochs", epochs), checks.integer("batch_size", batch_size)
        trainer = self._ready(x)
        share = checks.number("validation_split", validation_split, below=1.0)
        if share and validation_data is not None:
            raise ArgumentError("validation_split: expected either it or validation_data, got both")
        data, validation = batches.split(self._data(x, y), share)
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise ArgumentError("validation_data: expected a pair (x, y)")
            validation = self._data(*validation_data, name="validation_data {}")
        self.history = history = History()
        bar = progress_for(checks.integer("verbose", verbose, least=0), len(data.x), epochs, trainer.accuracy)
        with bar as progress, self.network.working():
            trainer.fit(data, validation, epochs, batch_size, shuffle, progress, history)
        return history

    def evaluate(self, x: Any, y: Any, batch_size: int = 128) -> dict[str, float]:
        """{"loss": mean loss, "accuracy": share classified right} of images and labels as ``fit`` takes them."""
        batch_size = checks.integer("batch_size", batch_size)
        trainer = self._ready(x)
        data = self._data(x, y)
        with self.network.working():
            return trainer.evaluate(data, batch_size)

    def predict(self, x: Any, batch_size: int = 128) -> Array:
        """The outputs of the last layer: logits (N, classes), after a Softmax probabilities; images as (N, C, H, W)."""
        batch_size = checks.integer("batch_size", batch_size)
        self._build_for(x)
        network = self.network
        images = batches.check_images(x, network.input_shape)
        out = np.empty((len(images), *network.output_shape), self._engine.dtype)
        with network.working():
            place = network.place
            brought = place.put(images)
            for start in range(0, len(images), batch_size):
                size = min(batch_size, len(images) - start)
                plan = network.plan(size)
                if start == 0 or size < batch_size:
                    plan.prepare()
                    arrived = place.input(network.memory, size, network.input_shape, brought.dtype, self._engine)
                arrived.slice(brought, start)
                out[start : start + size] = place.fetch(plan.forward(arrived.images))
        return out if out.ndim == 2 else np.ascontiguousarray(np.moveaxis(out, -1, 1))

    def predict_proba(self, x: Any, batch_size: int = 128) -> Array:
        """The probabilities of the classes (N, classes): the softmax of ``predict``, unless that has one already."""
        outputs = self.predict(x, batch_size)
        if self.network.ends_in_softmax or not outputs.size:
            return outputs
        rows = dispatch.Rows(len(outputs), outputs.shape[1], self._engine.dtype)
        with self.network.working():
            plan, probabilities = self._engine.plan("softmax", "forward", rows), self.network.place.put(outputs)
            plan(probabilities, probabilities)
            return self.network.place.fetch(probabilities)

    # ---------------------------------------------------------------------------------------------- weights

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
        """Write the weights and a description of the model to a safetensors file, whole or not at all.

        The optimizer's state is not written.  ``metadata``: further words to keep in the file.
        """
        weights.save(path, self.network, metadata or {})

    def load(self, path: str | os.PathLike[str]) -> Sequential:
        """Read weights into this model.

        Raises
        ------
        CheckpointError
            The file is missing, damaged, or of another model; the weights are then as they were.
        """
        weights.load(path, self.network)
        return self

    # -------------------------------------------------------------------------------------------- internals

    def _build_for(self, x: Any) -> None:
        if self._network is None:
            self.build(batches.image_shape(x))

    def _ready(self, x: Any) -> Trainer:
        """The trainer, made when both the model and its optimizer are there."""
        if self._compiled is None:
            raise ArgumentError("compile: call model.compile(optimizer, loss, metrics) before fit and evaluate")
        self._build_for(x)
        network, (optimizer, loss, accuracy, seed) = self.network, self._compiled
        if len(network.output_shape) != 1:
            raise ArgumentError(f"layers: a loss needs (classes,) from the last layer, it gives {network.output_shape}")
        if self._trainer is None:
            network.reseed(seed)
            with network.working():
                updates = optimizer.start(network.parameters, self._engine, network.memory)
            self._trainer = Trainer(network, loss, accuracy, updates, generator(seed, ORDER))
        return self._trainer

    def _data(self, x: Any, y: Any, name: str = "{}") -> Data:
        return batches.checked(x, y, self.network.input_shape, self.network.output_shape[0], name)


def load_model(path: str | os.PathLike[str]) -> Sequential:
    """The model that was saved to ``path``: built and with its weights, not compiled.

    Raises
    ------
    CheckpointError
        The file is missing or damaged, or does not describe its model.
    """
    layers, input_shape = weights.description(path)
    try:
        model = Sequential(layers)
        model.build(input_shape)
    except (ArgumentError, ValueError, MemoryError) as error:  # the last two: sizes that no memory holds
        raise CheckpointError(f"{path}: the model that it describes cannot be built ({error})") from error
    return model.load(path)
