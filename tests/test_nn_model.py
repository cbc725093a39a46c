"""The model around the training: history, progress, images and labels in, predictions out, weights to files."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest

from fastconv import nn
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.nn import checkpoint
from fastconv.nn.weights import describe
from networks import digits, small_cnn, trained


def test_history_and_validation() -> None:
    x, y = digits()
    model = small_cnn()
    model.compile(nn.SGD(0.0))
    history = model.fit(x[:100], y[:100], epochs=3, batch_size=32, validation_split=0.25, verbose=0)
    assert history is model.history
    assert {name: len(values) for name, values in history.history.items()} == dict.fromkeys(
        ("loss", "accuracy", "val_loss", "val_accuracy"), 3
    )
    expected = model.evaluate(x[75:100], y[75:100])  # the end, and a rate of 0 has changed nothing
    assert history["val_loss"][-1] == pytest.approx(expected["loss"], rel=1e-6)
    assert history["val_accuracy"][-1] == expected["accuracy"]
    assert history.epochs == 3
    assert history.images == 3 * 75
    assert history.images_per_second == pytest.approx(225 / history.train_seconds)
    assert history.compile_seconds > 0
    assert json.loads(json.dumps(history.as_dict()))["history"] == history.history


def test_without_metrics_there_is_only_the_loss() -> None:
    model = small_cnn()
    model.compile(metrics=[])
    assert set(model.fit(digits()[0][:40], digits()[1][:40], verbose=0).history) == {"loss"}


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_progress_goes_to_standard_error(verbose: int, terminal: bool, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("fastconv.nn.progress.REFRESH_SECONDS", 0.0)
    model = small_cnn()
    model.compile()
    model.fit(digits()[0][:96], digits()[1][:96], epochs=2, verbose=verbose)
    out, err = capsys.readouterr()
    assert out == ""
    if verbose == 0:
        assert err == ""
        return
    for word in ("epoch 1/2", "epoch 2/2", "loss ", "accuracy ", " images/s"):
        assert word in err
    assert ("left" in err) == (terminal and verbose == 1)
    if not terminal or verbose == 2:
        assert len(err.splitlines()) == 2


def test_summary(capsys: Any) -> None:
    small_cnn().summary()
    out = capsys.readouterr().out
    assert "conv2d_2" in out
    assert "(16, 4, 4)" in out
    assert out.splitlines()[-1].split() == ["total", f"{small_cnn().parameter_count:,}"]


def test_images_may_come_in_many_forms() -> None:
    model, images = small_cnn(), digits()[0][:5]
    expected = model.predict(images)
    for same in (
        images[:, None],
        (images * np.float32(1 / 255)).astype(np.float32),
        images / 255,
        np.asfortranarray(images),
        images.repeat(2, 0)[::2],
    ):
        np.testing.assert_allclose(model.predict(same), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_channels_come_first(dtype: Any) -> None:
    """A 1x1 convolution that picks a channel gives that channel back."""
    model = nn.Sequential([nn.Conv2D(2, 1, use_bias=False)], input_shape=(3, 4, 5))
    model.parameters["conv2d_1.weight"][...] = 0
    model.parameters["conv2d_1.weight"][0, 0, [2, 0], [0, 1]] = 1
    x = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5)).astype(dtype)
    scale = 1 / 255 if dtype == np.uint8 else 1.0
    np.testing.assert_allclose(model.predict(x), x[:, [2, 0]] * scale, rtol=1e-6)


def test_the_input_is_only_read() -> None:
    x = (digits()[0][:40] / 255).astype(np.float32)
    y = digits()[1][:40].copy()
    x.flags.writeable = y.flags.writeable = False
    model = small_cnn()
    model.compile()
    model.fit(x, y, verbose=0)
    model.evaluate(x, y)
    model.predict(x)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_one_hot_labels_are_integer_labels(loss: str) -> None:
    x, y = digits()[0][:64], digits()[1][:64]
    results = []
    for labels in (y, y.astype(np.uint8), y[:, None], np.eye(10, dtype=np.float32)[y], np.eye(10, dtype=bool)[y]):
        model = small_cnn()
        model.compile(loss=loss)
        results.append(model.fit(x, labels, verbose=0).history)
    assert all(result == results[0] for result in results)


def test_predict_in_batches_is_predict_at_once() -> None:
    model, x = small_cnn(), digits()[0][:70]
    np.testing.assert_allclose(model.predict(x, batch_size=32), model.predict(x, batch_size=70), rtol=1e-5, atol=1e-6)
    assert model.predict(x[:0]).shape == (0, 10)
    assert model.predict_proba(x[:0]).shape == (0, 10)


def test_a_softmax_at_the_end_changes_what_is_predicted_and_nothing_else() -> None:
    x, y = digits()[0][:64], digits()[1][:64]
    plain, named, layer = (
        nn.Sequential([nn.Flatten(), *end], input_shape=(1, 8, 8))
        for end in ([nn.Dense(10)], [nn.Dense(10, activation="softmax")], [nn.Dense(10), nn.Softmax()])
    )
    histories = []
    for model in (plain, named, layer):
        model.compile()
        histories.append(model.fit(x, y, epochs=2, verbose=0).history)
    assert histories[0] == histories[1] == histories[2]
    probabilities = plain.predict_proba(x)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    for model in (named, layer):
        np.testing.assert_allclose(model.predict(x), probabilities, rtol=1e-5)
        np.testing.assert_array_equal(model.predict_proba(x), model.predict(x))


def test_a_model_without_input_shape_is_built_for_the_first_images() -> None:
    model = nn.Sequential([nn.Flatten(), nn.Dense(10)])
    with pytest.raises(ArgumentError, match=r"^input_shape: the model is not built yet"):
        model.summary()
    model.compile()
    model.fit(digits()[0][:40], digits()[1][:40], verbose=0)
    assert model.network.input_shape == (1, 8, 8)
    with pytest.raises(ArgumentError, match=r"^input_shape: the model was built for \(1, 8, 8\), got \(64,\)"):
        model.build((64,))


def test_new_weights_are_seen_by_plans_that_exist() -> None:
    model, x = small_cnn(), digits()[0][:8]
    model.predict(x)
    other = small_cnn(seed=1)
    for name, value in other.parameters.items():
        model.parameters[name][...] = value
    np.testing.assert_array_equal(model.predict(x), other.predict(x))


def test_weights_make_the_round_trip(tmp_path: Any) -> None:
    model, _ = trained()
    model.save(tmp_path / "weights.safetensors", {"dataset": "digits"})
    expected = model.predict(digits()[0][:9])
    same = small_cnn(seed=9)
    assert same.load(tmp_path / "weights.safetensors") is same
    np.testing.assert_array_equal(same.predict(digits()[0][:9]), expected)
    unbuilt = nn.load_model(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(unbuilt.predict(digits()[0][:9]), expected)
    assert describe(unbuilt.network) == describe(model.network)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Flatten(), nn.Dense(5), nn.Dense(10)], "it has no dense_2.weight, dense_2.bias"),
        ([nn.Flatten(), nn.Dense(10, use_bias=False)], "this one has no dense_1.bias"),
        ([nn.Flatten(), nn.Dense(11)], r"dense_1.weight is float32 \(64, 10\), expected float32 \(64, 11\)"),
        ([nn.Flatten(), nn.Dense(10, activation="relu")], ".*relu"),
    ],
)
def test_weights_of_another_model(layers: list[nn.Layer], message: str, tmp_path: Any) -> None:
    path = tmp_path / "weights.safetensors"
    nn.Sequential([nn.Flatten(), nn.Dense(10)], input_shape=(1, 8, 8)).save(path)
    model = nn.Sequential(layers, input_shape=(1, 8, 8), seed=1)
    before = model.network.parameters.values.copy()
    with pytest.raises(CheckpointError, match=f"weights.safetensors: weights of another model, {message}"):
        model.load(path)
    np.testing.assert_array_equal(model.network.parameters.values, before)


def described(input_shape: Any = (), *layers: str) -> dict[str, str]:
    """The metadata of a file that says it is of a model of such layers."""
    words = [{"layer": layer, "units": 9} for layer in layers]
    return {"architecture": json.dumps({"input_shape": input_shape, "layers": words})}


def test_a_file_that_does_not_say_which_model_it_is_of(tmp_path: Any) -> None:
    path = tmp_path / "weights.safetensors"
    for metadata, message in (
        ({}, "does not describe its model"),
        ({"architecture": "{"}, "is damaged"),
        ({"architecture": '{"layers": [{"layer": "Perceiver"}]}'}, "cannot be understood"),
        ({"architecture": "[]"}, "cannot be understood"),
        (described(), "safetensors: the model that it describes cannot be built"),
        (described("abc"), "safetensors: the model that it describes cannot be built"),
        (described([2**40, 2**40]), "safetensors: the model that it describes cannot be built"),
        (described([2**40, 2**40], "Dense"), "safetensors: the model that it describes cannot be built"),
        (described([2**62], "Dense"), "safetensors: the model that it describes cannot be built"),
    ):
        checkpoint.save(path, {"dense_1.weight": np.zeros((2, 2), np.float32)}, metadata)
        with pytest.raises(CheckpointError, match=message):
            nn.load_model(path)
