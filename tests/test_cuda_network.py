"""The network on a device, which is simulated: what it computes is what the host's reference computes."""

# The simulator runs each thread of a GPU as one of Python, 0.1 s for a small product: few steps of very small networks.

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, zoo
from fastconv.errors import TrainingError, UnsupportedError
from fastconv.functional.rehearsal import rehearse
from targets import SIMULATED

if not SIMULATED:
    pytest.skip("needs the simulator: NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)

from fastconv.nn.device import Device
from fastconv_kernels.cuda import graph, launch, libraries, transfers

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (3, 1, 2, 2), np.uint8), RNG.integers(0, 2, 3)
LAYERS: dict[str, list[Any]] = {
    "conv and pool": [nn.Conv2D(2, 3, padding="same", activation="relu"), nn.MaxPool2D(2), nn.Flatten(), nn.Dense(2)],
    "dropout": [nn.Flatten(), nn.Dropout(0.5), nn.Dense(2)],
    "residual": [nn.Residual([nn.Conv2D(1, 1)]), nn.BatchNorm(), nn.GlobalAveragePool2D(), nn.Dense(2), nn.Softmax()],
}


def model_of(name: str, target: str, optimizer: Any = "adam") -> nn.Sequential:
    model = nn.Sequential(LAYERS[name], input_shape=(1, 2, 2))
    model.compile(optimizer, target=target)
    return model


def values(model: nn.Sequential) -> np.ndarray[Any, Any]:
    arrays = [*model.parameters.values(), *model.state.values()]
    return np.concatenate([fc.to_host(array).ravel() for array in arrays])


@pytest.mark.parametrize("name", ["conv and pool", "residual"])
def test_a_step_is_that_of_the_host(name: str) -> None:
    # Not Adam: it divides by the gradient's own size, so that rounding errors of a gradient near zero take whole steps.
    here, there = (model_of(name, target, nn.SGD(0.1, momentum=0.9)) for target in ("numpy", "cuda"))
    for model in (here, there):
        model.fit(X[:2], Y[:2], 1, 2, verbose=0)
    np.testing.assert_allclose(there.history["loss"], here.history["loss"], rtol=1e-5)
    np.testing.assert_allclose(values(there), values(here), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(there.predict_proba(X[:2]), here.predict_proba(X[:2]), rtol=1e-4, atol=1e-6)
    assert isinstance(there.network.place, Device)


def test_steps_and_batches_are_those_of_the_host() -> None:
    here, there = (model_of("dropout", target, nn.Adam(nn.StepDecay(0.01, 0.5, every=2))) for target in ("numpy", "cuda"))
    for model in (here, there):
        model.fit(X, Y, 2, 2, validation_data=(X[:2], Y[:2]), verbose=0)
    for metric in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(there.history[metric], here.history[metric], rtol=1e-4)
    np.testing.assert_allclose(values(there), values(here), rtol=1e-3, atol=1e-5)
    assert there.evaluate(X, Y, 2) == pytest.approx(here.evaluate(X, Y, 2), rel=1e-4)


@pytest.mark.parametrize("name", [*zoo.MODELS, "dropout"])
def test_every_step_starts_the_same_with_the_same_arguments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the record of one step is that of all: what differs is in memory."""
    steps: list[list[Any]] = []

    def repeated(self: Device, work: Any) -> Any:
        def noted() -> None:
            launches = launch.rehearsed.get().launches  # type: ignore[union-attr]
            before = len(launches)
            work()
            steps.append(launches[before:])

        return noted

    def fit() -> None:
        model = model_of(name, "cuda") if name == "dropout" else zoo.build(name)
        shape = model.network.input_shape
        model.compile(nn.Adam(nn.StepDecay(0.01, 0.5, every=1)), target="cuda")
        model.fit(np.zeros((7, *shape), np.uint8), np.zeros(7, int), epochs=2, batch_size=2, verbose=0)

    monkeypatch.setattr(Device, "repeated", repeated)
    rehearse(fit, "sm_90a")
    whole, last = [steps[place] for place in (0, 1, 2, 4, 5, 6)], [steps[place] for place in (3, 7)]
    assert len(whole[0]) > 5
    assert all(step == whole[0] for step in whole)
    assert last[0] == last[1]


def test_a_step_waits_for_nothing_and_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: dict[str, int] = {}

    def counting(what: str, call: Any) -> Any:
        def counted_call(*given: Any) -> Any:
            counted[what] = counted.get(what, 0) + 1
            return call(*given)

        return counted_call

    monkeypatch.setattr(transfers, "move", counting("copies to the device", transfers.move))
    monkeypatch.setattr(transfers, "fetch", counting("copies back", transfers.fetch))
    monkeypatch.setattr(libraries.Nowhere, "empty", counting("arrays", libraries.Nowhere.empty))
    seen = []
    for images in (2, 4):  # and as many steps

        def fit(images: int = images) -> None:
            model_of("dropout", "cuda").fit(np.repeat(X[:1], images, 0), np.repeat(Y[:1], images), 1, 1, verbose=0)

        counted.clear()
        rehearse(fit, "sm_90a")
        seen.append(dict(counted))
    assert len(seen[0]) == 3
    assert seen[0] == seen[1]


def test_weights_are_saved_from_the_device_and_loaded_to_it(tmp_path: Path) -> None:
    there, other = model_of("dropout", "cuda"), model_of("dropout", "cuda")
    there.fit(X[:1].astype("float64") / 255, Y[:1], batch_size=1, verbose=0)
    there.save(tmp_path / "weights")
    other.predict(X[:1])
    other.load(tmp_path / "weights")
    np.testing.assert_array_equal(values(other), values(there))
    there.compile(target="numpy")  # the weights come back
    np.testing.assert_allclose(there.predict(X[:1]), other.predict(X[:1]), rtol=1e-5, atol=1e-6)
    assert isinstance(there.parameters["dense_1.weight"], np.ndarray)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_no_number_leaves_the_weights_of_the_last_epoch() -> None:
    model = model_of("dropout", "cuda")
    before = values(model)
    with pytest.raises(TrainingError, match="in epoch 1; the weights are as they were before this epoch"):
        model.fit(np.where(X.max() == X, np.nan, X / 255), Y, batch_size=3, verbose=0)
    np.testing.assert_array_equal(values(model), before)


def test_double_precision_is_refused() -> None:
    model = nn.Sequential([nn.Dense(3)], input_shape=(2,), dtype="float64")
    model.compile(target="cuda")
    with pytest.raises(UnsupportedError, match="float32"):
        model.predict(np.ones((1, 2)))


def test_repeated_work_is_done_then_recorded_then_started(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    record = SimpleNamespace(launch=lambda stream: told.append(f"started on {stream}"))
    monkeypatch.setattr(graph, "SIMULATED", False)
    monkeypatch.setattr(graph, "recorded", lambda work: (told.append("recorded"), record)[1])
    monkeypatch.setattr(graph, "stream_here", lambda: "here")
    repeated = graph.Repeated(lambda: told.append("done"))
    for _ in range(3):
        repeated()
    assert told == ["done", "recorded", "started on here", "started on here"]
