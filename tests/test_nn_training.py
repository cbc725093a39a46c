"""Training: it learns, repeats, allocates nothing, and does what PyTorch does."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import nn
from fastconv.nn.network import ORDER, generator
from fastconv.nn.training import Data
from networks import digits, small_cnn, trained


def test_the_first_example() -> None:
    random = np.random.default_rng(0)
    y_train, y_test = random.integers(0, 10, 260), random.integers(0, 10, 40)
    x_train, x_test = (random.random((len(y), 1, 28, 28), np.float32) for y in (y_train, y_test))
    model = nn.Sequential([
        nn.Conv2D(32, 3, activation="relu", padding="same", input_shape=(1, 28, 28)), nn.MaxPool2D(2),
        nn.Conv2D(64, 3, activation="relu", padding="same"), nn.MaxPool2D(2),
        nn.Flatten(), nn.Dense(128, activation="relu"), nn.Dense(10)])  # fmt: skip
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x_train, y_train, epochs=1, batch_size=128, validation_data=(x_test, y_test))
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert model.parameter_count == 421_642


@pytest.mark.parametrize("optimizer", [nn.SGD(0.5), nn.SGD(0.1, momentum=0.9, nesterov=True), nn.Adam(0.01)])
def test_training_learns(optimizer: nn.optimizers.Optimizer) -> None:
    x, y = digits()
    model = small_cnn()
    model.compile(optimizer)
    history = model.fit(x[:1400], y[:1400], epochs=6, batch_size=16, verbose=0)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    result = model.evaluate(x[1400:], y[1400:])
    assert result["accuracy"] > 0.8
    predicted = model.predict(x[1400:]).argmax(1)
    assert result["accuracy"] == pytest.approx((predicted == y[1400:]).mean())


def test_a_seeded_run_repeats_bit_for_bit() -> None:
    (first, history), (second, again) = trained(), trained()
    np.testing.assert_array_equal(first.network.parameters.values, second.network.parameters.values)
    assert history.history == again.history
    other, _ = trained(seed=1)
    assert (other.network.parameters.values != first.network.parameters.values).any()


def test_any_number_of_threads_gives_the_same_bits() -> None:
    (one, _), (two, _) = (trained(threads=threads, target="cpu") for threads in (1, 2))
    np.testing.assert_array_equal(one.network.parameters.values, two.network.parameters.values)


def test_the_cpus_kernels_train_like_the_reference() -> None:
    # Not Adam: it divides by the gradient's own size, so that rounding errors of a gradient near zero take whole steps.
    (fast, _), (reference, _) = (trained(96, nn.SGD(0.1, momentum=0.9), target=target) for target in ("cpu", "numpy"))
    np.testing.assert_allclose(fast.network.parameters.values, reference.network.parameters.values, atol=1e-5)


def array_bytes() -> int:
    """In all arrays made since tracemalloc was started."""
    numpys = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([numpys]).traces)


def test_a_step_allocates_no_arrays() -> None:
    images = 8192
    x, y = np.resize(digits()[0], (images, 1, 8, 8)), np.resize(digits()[1], images)
    model = small_cnn()
    model.compile(target="cpu")
    trainer = model._ready(x)
    data = Data(x, y)
    batch = trainer.batches(data, images, trainer.updates)[images]
    order = np.arange(images)

    def steps() -> None:
        for _ in range(3):
            trainer.updates.begin(order, images)
            trainer.step(batch, 1, 1)

    steps()
    gc.collect()
    tracemalloc.start()
    try:
        steps()
        arrays = array_bytes()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        steps()
        _, peak = tracemalloc.get_traced_memory()
        assert peak - before < 8 * images  # the labels, which are the smallest array of numbers with a row for each image
        assert array_bytes() == arrays
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.SGD(0.05, momentum=0.9, weight_decay=1e-2), lambda torch, p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=1e-2)),
        (nn.SGD(0.05, momentum=0.9, nesterov=True), lambda torch, p: torch.optim.SGD(p, 0.05, 0.9, nesterov=True)),
        (nn.Adam(0.01), lambda torch, p: torch.optim.Adam(p, 0.01)),
        (nn.Adam(0.01, weight_decay=0.1, decoupled=True), lambda torch, p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
    ],
)
def test_training_is_torchs(ours: nn.optimizers.Optimizer, theirs: Callable[..., Any]) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    x, y = digits()[0][:64].reshape(64, 64) / 255, digits()[1][:64]
    model = nn.Sequential([nn.Dense(16, activation="relu"), nn.Dense(10)], input_shape=(64,), dtype="float64")
    model.compile(ours, target="numpy")
    parameters = [torch.tensor(value, requires_grad=True) for value in model.parameters.values()]
    optimizer = theirs(torch, parameters)
    model.fit(x, y, epochs=5, batch_size=32, shuffle=False, verbose=0)
    for _ in range(5):
        for start in (0, 32):
            optimizer.zero_grad()
            hidden = torch.relu(torch.tensor(x[start : start + 32]) @ parameters[0] + parameters[1])
            logits = hidden @ parameters[2] + parameters[3]
            torch.nn.functional.cross_entropy(logits, torch.tensor(y[start : start + 32])).backward()
            optimizer.step()
    for value, expected in zip(model.parameters.values(), parameters, strict=True):
        np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-8, atol=1e-10)


def test_a_schedule_sets_the_rate_of_each_step() -> None:
    asked: list[int] = []

    def rate(step: int) -> float:
        asked.append(step)
        return 0.0

    model = nn.Sequential([nn.Dense(2)], input_shape=(3,))
    before = model.network.parameters.values.copy()
    model.compile(nn.SGD(rate))
    model.fit(np.ones((7, 3)), np.zeros(7, int), epochs=2, batch_size=3, verbose=0)
    assert asked == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(model.network.parameters.values, before)


def test_schedules() -> None:
    assert nn.Constant(0.1)(99) == 0.1
    assert [nn.StepDecay(1.0, 0.5, every=2)(step) for step in range(5)] == [1, 1, 0.5, 0.5, 0.25]
    cosine = nn.Cosine(1.0, steps=4, final=0.2)
    assert [cosine(step) for step in (0, 2, 4, 9)] == pytest.approx([1.0, 0.6, 0.2, 0.2])


def test_every_image_is_seen_once_an_epoch_in_the_seeds_order() -> None:
    x = np.arange(10.0)[:, None]
    model = nn.Sequential([nn.Dense(2)], input_shape=(1,), seed=3)
    model.compile()
    trainer, seen = model._ready(x), []
    step = trainer.step
    trainer.step = lambda batch, *at: (  # type: ignore[method-assign]
        seen.append(trainer.updates.steps.indices(len(batch.input.labels)).copy()),  # type: ignore[union-attr]
        step(batch, *at),
    )[1]
    model.fit(x, np.zeros(10, int), epochs=2, batch_size=4, verbose=0)
    assert [len(indices) for indices in seen] == [4, 4, 2, 4, 4, 2]
    orders = np.concatenate(seen).reshape(2, 10)
    np.testing.assert_array_equal(np.sort(orders), [range(10), range(10)])
    expected = np.arange(10)
    generator(3, ORDER).shuffle(expected)
    np.testing.assert_array_equal(orders[0], expected)
    assert (orders[0] != orders[1]).any()
