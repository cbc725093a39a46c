"""Layers: gradients of whole networks against finite differences, shapes, fusions, and what layers refuse."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import nn
from fastconv.errors import ArgumentError
from fastconv.nn.layers import LAYERS
from fastconv.nn.losses import Loss
from fastconv.nn.planning import Engine

BATCH, CLASSES = 3, 4
STEP = 1e-6
"""Of the finite differences: their error is about STEP**2 + 1e-16 / STEP."""

HEAD = [nn.Flatten(), nn.Dense(CLASSES)]
FIRST = nn.Conv2D(4, 3, padding=1)

PLAIN = [nn.Conv2D(4, 3, padding=1, use_bias=False), nn.BatchNorm(activation="relu"), nn.Conv2D(4, 1), nn.BatchNorm()]
STRIDED = [
    nn.Conv2D(5, 3, strides=2, padding=1, use_bias=False),
    nn.BatchNorm(activation="relu"),
    nn.Conv2D(5, 1),
    nn.BatchNorm(),
]
PROJECTION = [nn.Conv2D(5, 1, strides=2, use_bias=False), nn.BatchNorm()]

NETWORKS = {
    "conv": [FIRST, *HEAD],
    "conv-relu": [FIRST, nn.Conv2D(6, (3, 2), activation="relu"), nn.Conv2D(3, 1, activation="relu"), *HEAD],
    "conv-strides": [FIRST, nn.Conv2D(5, 3, strides=(2, 1), padding=((1, 0), (2, 1))), *HEAD],
    "conv-dilation": [FIRST, nn.Conv2D(5, 2, dilation=(2, 3), padding="same"), *HEAD],
    "conv-groups": [FIRST, nn.Conv2D(6, 3, groups=2, activation="relu"), *HEAD],
    "conv-no-bias": [nn.Conv2D(4, 3, use_bias=False), nn.Conv2D(4, 3, use_bias=False, activation="elu"), *HEAD],
    "conv-tanh": [FIRST, nn.Conv2D(4, 3, activation="tanh"), *HEAD],
    "max-pool": [FIRST, nn.MaxPool2D(2), *HEAD],
    "max-pool-overlapping": [FIRST, nn.MaxPool2D(3, strides=2, padding=1), *HEAD],
    "conv-relu-max-pool": [FIRST, nn.Conv2D(4, 3, activation="relu"), nn.MaxPool2D(2), *HEAD],
    "conv-relu-max-pool-overlapping": [FIRST, nn.Conv2D(4, 3, activation="relu"), nn.MaxPool2D(3, 2, padding=1), *HEAD],
    "conv-tanh-max-pool": [nn.Conv2D(4, 3, activation="tanh"), nn.MaxPool2D(2), *HEAD],
    "average-pool": [FIRST, nn.AveragePool2D((2, 3)), *HEAD],
    "average-pool-same": [FIRST, nn.AveragePool2D(3, strides=2, padding="same"), *HEAD],
    "pool-first": [nn.MaxPool2D(2), nn.ReLU(), FIRST, *HEAD],
    "dense-relu": [nn.Flatten(), nn.Dense(9, activation="relu"), nn.Dense(7, activation="relu", use_bias=False), nn.Dense(4)],
    "dense-softmax": [nn.Flatten(), nn.Dense(CLASSES, activation="softmax")],
    "softmax-last": [*HEAD, nn.Softmax()],
    "softmax-inside": [FIRST, nn.Softmax(), *HEAD],
    "relu": [FIRST, nn.ReLU(), *HEAD],
    "leaky-relu": [FIRST, nn.LeakyReLU(0.2), *HEAD],
    "elu": [FIRST, nn.ELU(0.7), *HEAD],
    "sigmoid": [FIRST, nn.Sigmoid(), *HEAD],
    "tanh": [FIRST, nn.Tanh(), *HEAD],
    "maxout": [FIRST, nn.Maxout(2), *HEAD],
    "maxout-dense": [nn.Flatten(), nn.Dense(9), nn.Maxout(3), nn.Dense(CLASSES)],
    "conv-then-relu-max-pool": [FIRST, nn.Conv2D(4, 3), nn.ReLU(), nn.MaxPool2D(2), *HEAD],
    "conv-relu-max-pool-first": [nn.Conv2D(4, 3, activation="relu"), nn.MaxPool2D(2), nn.Conv2D(3, 2), *HEAD],
    "conv-relu-max-pool-no-bias": [FIRST, nn.Conv2D(4, 2, activation="relu", use_bias=False), nn.MaxPool2D(2), *HEAD],
    "batch-norm": [nn.Conv2D(4, 3, use_bias=False), nn.BatchNorm(), *HEAD],
    "batch-norm-relu": [FIRST, nn.BatchNorm(activation="relu"), nn.Conv2D(3, 3), nn.BatchNorm(), nn.ReLU(), *HEAD],
    "batch-norm-dense": [nn.Flatten(), nn.Dense(6), nn.BatchNorm(activation="tanh"), nn.Dense(CLASSES)],
    "batch-norm-first": [nn.BatchNorm(epsilon=0.1), *HEAD],
    "global-average-pool": [FIRST, nn.GlobalAveragePool2D(), nn.Dense(CLASSES)],
    "residual": [FIRST, nn.Residual(PLAIN), nn.GlobalAveragePool2D(), nn.Dense(CLASSES)],
    "residual-projected": [FIRST, nn.Residual(STRIDED, PROJECTION), nn.Conv2D(3, 2), *HEAD],
    "residual-first": [nn.Residual([nn.Conv2D(2, 3, padding=1), nn.BatchNorm()]), nn.Residual(STRIDED, PROJECTION), *HEAD],
    "residual-without-norm": [FIRST, nn.Residual([nn.Conv2D(4, 3, padding=1)], activation="relu"), *HEAD],
    "residual-linear": [FIRST, nn.Residual([nn.Conv2D(4, 3, padding=1)], activation=None), *HEAD],
    "residual-tanh": [FIRST, nn.Residual(PLAIN, activation="tanh"), *HEAD],
    "residual-in-residual": [
        FIRST,
        nn.Residual([nn.Residual(PLAIN), *PLAIN], [nn.Residual(PLAIN)]),
        nn.Residual(PLAIN),
        *HEAD,
    ],
    "residual-unlearned-body": [FIRST, nn.Residual([nn.ReLU()]), nn.Residual([nn.Tanh()], [nn.Conv2D(4, 1)]), *HEAD],
    "last-relu": [nn.Flatten(), nn.Dense(CLASSES, activation="relu")],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    random = np.random.default_rng(7)
    model = nn.Sequential(NETWORKS[name], input_shape=(2, 7, 8), dtype="float64", seed=3)
    model.compile(target="numpy")
    network = model.network
    plan = network.plan(BATCH, training=True, logits=True)
    loss = Loss("sparse_categorical_crossentropy").plan(network.engine, network.memory, BATCH, CLASSES)
    x, labels = random.standard_normal((BATCH, 7, 8, 2)), np.array([1, 3, 0])

    def mean_loss() -> float:
        plan.prepare()
        loss(plan.forward(x), labels)
        return float(loss.losses.mean())

    mean_loss()
    plan.backward(loss.grad)
    checked = 0
    for parameter, value in network.parameters.value.items():
        gradient = network.parameters.gradient[parameter].copy()
        flat = value.reshape(-1)
        for index in random.choice(flat.size, min(flat.size, 8), replace=False):
            before = flat[index]
            flat[index] = before + STEP
            above = mean_loss()
            flat[index] = before - STEP
            below = mean_loss()
            flat[index] = before
            expected = (above - below) / (2 * STEP)
            assert gradient.flat[index] == pytest.approx(expected, rel=1e-6, abs=1e-8), (parameter, index)
            checked += 1
    assert checked >= 2


def test_every_layer_is_checked_by_finite_differences_or_by_name() -> None:
    checked = {type(layer).__name__ for layers in NETWORKS.values() for layer in layers}
    assert set(LAYERS) - checked == {"Dropout"}  # random: it has a test of its own


def test_dropout_drops_in_training_alone_and_sends_back_what_it_let_through() -> None:
    model = nn.Sequential([nn.Dense(50), nn.Dropout(0.25), nn.Dense(2)], input_shape=(3,), seed=5)
    model.compile(target="numpy")
    stages = model.network.plan(400, training=True).stages
    x = np.ones((400, 50), np.float32)
    out = stages[1].forward(x).copy()
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((out == 0).mean() - 0.25) < 0.01
    np.testing.assert_array_equal(stages[1].backward(x.copy()), out)
    model.network.memory.steps += 1
    assert (stages[1].forward(x) != out).any()  # every step drops others
    assert len(model.network.plan(400).stages) == 2


def test_the_first_layer_that_learns_computes_no_gradient_of_its_input() -> None:
    model = nn.Sequential([nn.MaxPool2D(2), nn.Conv2D(2, 3), nn.Flatten(), nn.Dense(3)], input_shape=(1, 8, 8))
    model.compile(target="numpy")
    plan = model.network.plan(2, training=True)
    assert len(plan.learning) == 3
    images = np.ones((2, 8, 8, 1), np.float32)
    out = plan.forward(images)
    grad = np.ones_like(out)
    for stage in plan.learning[:-1]:
        passed = stage.backward(grad)
        assert passed is not None
        grad = passed
    assert plan.learning[-1].backward(grad) is None


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu"])
def test_an_activation_by_name_is_the_layer(activation: str) -> None:
    layer = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU}[activation]()
    x = np.random.default_rng(0).standard_normal((5, 2, 9, 9)).astype(np.float32)
    outputs = [
        nn.Sequential(layers, input_shape=(2, 9, 9), seed=1).predict(x)
        for layers in ([nn.Conv2D(3, 3, activation=activation)], [nn.Conv2D(3, 3), layer])
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-6, atol=1e-7)
    assert outputs[0].shape == (5, 3, 7, 7)


def test_convolution_is_torchs() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 8))
    model = nn.Sequential([nn.Conv2D(6, 3, strides=2, padding=1, groups=2)], input_shape=(4, 9, 8), dtype="float64")
    model.compile(target="numpy")
    weight, bias = (torch.from_numpy(model.parameters[f"conv2d_1.{role}"]) for role in ("weight", "bias"))
    expected = torch.conv2d(torch.from_numpy(x), weight.permute(3, 2, 0, 1), bias, stride=2, padding=1, groups=2)
    np.testing.assert_allclose(model.predict(x), expected.numpy(), rtol=1e-12, atol=1e-12)


def test_parameters_start_as_torchs_do() -> None:
    model = nn.Sequential([nn.Conv2D(64, 3), nn.Flatten(), nn.Dense(200)], input_shape=(4, 12, 12), seed=2)
    for name, fan_in in (("conv2d_1", 4 * 9), ("dense_1", 64 * 100)):
        for role in ("weight", "bias"):
            values, bound = model.parameters[f"{name}.{role}"], fan_in**-0.5
            assert values.dtype == np.float32
            assert 0.9 * bound < np.abs(values).max() <= bound
            assert abs(values.mean()) < 0.2 * bound


def test_adding_a_layer_changes_no_other_layers_weights() -> None:
    short = nn.Sequential([nn.Dense(4), nn.Dense(3)], input_shape=(5,), seed=1)
    long = nn.Sequential([nn.Dense(4), nn.Dense(3), nn.Dense(2)], input_shape=(5,), seed=1)
    for name, value in short.parameters.items():
        np.testing.assert_array_equal(value, long.parameters[name])


@pytest.mark.parametrize("engine", [Engine(), Engine("float64")])
def test_parameters_are_views_of_one_array_each_on_a_cache_line(engine: Engine) -> None:
    model = nn.Sequential([nn.Dense(3), nn.Dense(5)], input_shape=(7,), dtype=engine.dtype)
    parameters = model.network.parameters
    for flat, views in ((parameters.values, parameters.value), (parameters.gradients, parameters.gradient)):
        for view in views.values():
            assert np.shares_memory(flat, view)
            assert view.ctypes.data % 64 == 0
    assert model.parameter_count == 7 * 3 + 3 + 3 * 5 + 5


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: nn.Conv2D(0, 3), "filters: expected an integer of at least 1, got 0"),
        (lambda: nn.Conv2D(2.5, 3), "filters: expected an integer"),
        (lambda: nn.Conv2D(8, (3, 3, 3)), "kernel_size: expected an integer or two"),
        (lambda: nn.Conv2D(8, 3, strides=0), "strides: expected an integer of at least 1, got 0"),
        (lambda: nn.Conv2D(8, 3, dilation=-1), "dilation: "),
        (lambda: nn.Conv2D(8, 3, padding="some"), "padding: "),
        (lambda: nn.Conv2D(8, 3, padding=-1), "padding: "),
        (lambda: nn.Conv2D(8, 3, groups=3), "groups: "),
        (lambda: nn.Conv2D(8, 3, activation="gelu"), "activation: expected one of relu, "),
        (lambda: nn.MaxPool2D(2, padding=2), "padding: "),
        (lambda: nn.MaxPool2D(0), "pool_size: "),
        (lambda: nn.Dense(0), "units: "),
        (lambda: nn.Dense(3, activation="max"), "activation: "),
        (lambda: nn.Dropout(1.0), r"rate: expected a finite number in \[0, 1\), got 1.0"),
        (lambda: nn.ELU(-1), "alpha: "),
        (lambda: nn.LeakyReLU(float("nan")), "slope: "),
        (lambda: nn.Maxout(0), "pieces: "),
        (lambda: nn.Sequential([]), "layers: expected at least one"),
        (lambda: nn.Sequential(["dense"]), "layers: expected layers of fastconv.nn, got str at position 0"),
        (lambda: nn.Sequential([nn.Dense(1)], input_shape=(1, 2)), "input_shape: "),
        (lambda: nn.Sequential([nn.Dense(1)], input_shape=(0,)), "input_shape: "),
        (lambda: nn.Sequential([nn.Dense(1)], seed=-1), "seed: "),
        (lambda: nn.Sequential([nn.Dense(1)], dtype="int8"), "dtype: expected one of float32, float64, got 'int8'"),
    ],
)
def test_arguments_that_cannot_be(layer: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{message}"):
        layer()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.MaxPool2D(2), nn.MaxPool2D(2)], r"maxpool2d_2: pool_size: .* \(C, H, W\) = \(3, 1, 1\)"),
        ([nn.Conv2D(4, 3), nn.MaxPool2D(2, padding=1)], r"maxpool2d_1: .*\(4, 0, 0\)|conv2d_1: weight: .*\(3, 2, 2\)"),
        ([nn.Conv2D(4, 1, groups=2)], r"conv2d_1: groups: .*\(3, 2, 2\)"),
        ([nn.Dense(4)], r"dense_1: expected \(features,\), put a Flatten before it: its input is \(C, H, W\) = \(3, 2, 2\)"),
        ([nn.Flatten(), nn.Conv2D(4, 3)], r"conv2d_1: expected images .* \(features,\) = \(12,\)"),
        ([nn.Maxout(2)], r"maxout_1: pieces: .*\(3, 2, 2\)"),
    ],
)
def test_shapes_that_a_layer_cannot_take(layers: list[nn.Layer], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^({message})"):
        nn.Sequential(layers, input_shape=(3, 2, 2))
