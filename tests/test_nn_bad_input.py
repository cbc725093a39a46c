"""What a model says to those who ask for the impossible, and what is left of it when a training ends too early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import nn
from fastconv.errors import ArgumentError, DtypeError, TrainingError
from fastconv.nn.training import Batch
from networks import digits, small_cnn, trained


def fit(model: nn.Sequential, x: Any, y: Any, **options: Any) -> None:
    model.compile()
    model.fit(x, y, verbose=0, **options)


X, Y = np.zeros((6, 8, 8), np.float32), np.array([0, 1, 2, 3, 4, 9])


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda m: m.fit(X, Y), ArgumentError, "compile: call model.compile"),
        (lambda m: m.evaluate(X, Y), ArgumentError, "compile: call model.compile"),
        (lambda m: fit(m, X[0], Y), ArgumentError, r"x: expected the shape \(N, 1, 8, 8\), .* got \(8, 8\)"),
        (lambda m: fit(m, X[:, :7], Y), ArgumentError, "x: expected the shape"),
        (lambda m: fit(m, np.zeros((6, 3, 8, 8)), Y), ArgumentError, "x: expected the shape"),
        (lambda m: fit(m, X.astype(int), Y), DtypeError, "x: expected uint8 .* got int64"),
        (lambda m: fit(m, X.tolist(), Y), DtypeError, "x: expected an array, got list"),
        (lambda m: fit(m, X[:0], Y[:0]), ArgumentError, "x: expected at least one image"),
        (lambda m: fit(m, X, Y[:5]), ArgumentError, r"y: expected 6 labels, .* \(5,\)"),
        (lambda m: fit(m, X, 3), ArgumentError, r"y: expected 6 labels, .* \(\)"),
        (lambda m: fit(m, X, [[1], [1, 2]]), ArgumentError, "y: expected an array of labels"),
        (lambda m: nn.Sequential(nn.Dense(3)), ArgumentError, "layers: expected a sequence of layers, got Dense"),
        (lambda m: fit(m, X, Y + 1), ArgumentError, "y: expected labels from 0 to 9, got 1 to 10"),
        (lambda m: fit(m, X, Y - 1), ArgumentError, "y: expected labels from 0 to 9, got -1 to 8"),
        (lambda m: fit(m, X, Y / 2), DtypeError, "y: expected integer labels, got float64"),
        (lambda m: fit(m, X, np.zeros((6, 10))), ArgumentError, "y: expected integers or one-hot rows"),
        (
            lambda m: fit(m, X, np.zeros((6, 9))),
            ArgumentError,
            r"y: expected labels \(6,\) or .* \(6, 10\), got \(6, 9\)",
        ),
        (lambda m: fit(m, X, Y, epochs=0), ArgumentError, "epochs: "),
        (lambda m: fit(m, X, Y, batch_size=0), ArgumentError, "batch_size: "),
        (lambda m: fit(m, X, Y, validation_split=1.0), ArgumentError, "validation_split: "),
        (lambda m: fit(m, X, Y, validation_split=0.1), ArgumentError, "validation_split: 0.1 of 6 images leaves none"),
        (lambda m: fit(m, X, Y, validation_split=0.5, validation_data=(X, Y)), ArgumentError, "validation_split: "),
        (lambda m: fit(m, X, Y, validation_data=X), ArgumentError, "validation_data: expected a pair"),
        (lambda m: fit(m, X, Y, validation_data=(X, Y[:2])), ArgumentError, "validation_data y: expected 6 labels"),
        (lambda m: m.compile("newton"), ArgumentError, "optimizer: expected one of sgd, adam, got 'newton'"),
        (lambda m: m.compile(loss="mse"), ArgumentError, "loss: "),
        (lambda m: m.compile(metrics="accuracy"), ArgumentError, "metrics: expected a list"),
        (lambda m: m.compile(metrics=["recall"]), ArgumentError, "metrics: expected one of accuracy, got 'recall'"),
        (lambda m: m.compile(target="tpu"), ArgumentError, "target: "),
        (lambda m: m.compile(threads=0), ArgumentError, "threads: "),
        (lambda m: m.compile(seed=-1), ArgumentError, "seed: "),
        (lambda m: m.predict(X[:, :4]), ArgumentError, "x: expected the shape"),
        (lambda m: m.predict(X, batch_size=-3), ArgumentError, "batch_size: "),
        (lambda m: nn.SGD(-0.1), ArgumentError, "learning_rate: "),
        (lambda m: nn.SGD(0.1, nesterov=True), ArgumentError, "nesterov: "),
        (lambda m: nn.Adam(beta1=1.0), ArgumentError, "beta1: "),
        (lambda m: nn.Adam(weight_decay=-1.0), ArgumentError, "weight_decay: "),
        (lambda m: nn.Adam(epsilon="small"), ArgumentError, "epsilon: "),
        (lambda m: nn.Cosine(1.0, steps=0), ArgumentError, "steps: "),
        (lambda m: nn.StepDecay(1.0, 0.1, every=0), ArgumentError, "every: "),
        (lambda m: nn.Constant(float("inf")), ArgumentError, "rate: "),
    ],
)
def test_bad_input(act: Callable[[nn.Sequential], object], error: type[Exception], message: str) -> None:
    model = nn.Sequential([nn.Flatten(), nn.Dense(10)], input_shape=(1, 8, 8))
    before = model.network.parameters.values.copy()
    with pytest.raises(error, match=f"^{message}"):
        act(model)
    np.testing.assert_array_equal(model.network.parameters.values, before)


def test_a_loss_needs_classes() -> None:
    model = nn.Sequential([nn.Conv2D(3, 3)], input_shape=(1, 8, 8))
    with pytest.raises(ArgumentError, match=r"^layers: a loss needs"):
        fit(model, X, Y)


def test_a_loss_that_is_no_number_stops_the_training_and_leaves_the_weights() -> None:
    x, y = np.ones((10, 3), np.float32), np.zeros(10, int)
    x[7] = np.nan
    model = nn.Sequential([nn.Dense(4)], input_shape=(3,))
    model.compile()
    with pytest.raises(TrainingError, match=r"^loss: it is nan at step 3 of epoch 1; the weights are as they were"):
        model.fit(x, y, batch_size=3, shuffle=False, verbose=0)
    assert np.isfinite(model.network.parameters.values).all()
    assert model.history.epochs == 0
    model.fit(x[:6], y[:6], verbose=0)
    assert model.history.epochs == 1


def test_ctrl_c_leaves_a_usable_model(monkeypatch: Any) -> None:
    x, y = digits()[0][:64], digits()[1][:64]
    model = small_cnn()
    model.compile()
    trainer = model._ready(x)
    step = trainer.step

    def interrupted(batch: Batch, epoch: int, number: int) -> None:
        if (epoch, number) == (2, 2):
            raise KeyboardInterrupt
        step(batch, epoch, number)

    monkeypatch.setattr(trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=3, verbose=0)
    monkeypatch.undo()
    assert model.history.epochs == 1
    assert np.isfinite(model.evaluate(x, y)["loss"])
    model.fit(x, y, verbose=0)


def test_compiling_again_keeps_the_weights_and_moves_the_work() -> None:
    model, _ = trained(target="cpu")
    before = model.network.parameters.values.copy()
    expected = model.predict(digits()[0][:8])
    model.compile("sgd", target="numpy")
    np.testing.assert_array_equal(model.network.parameters.values, before)
    np.testing.assert_allclose(model.predict(digits()[0][:8]), expected, rtol=1e-4, atol=1e-5)
