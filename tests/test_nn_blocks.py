"""Batch normalisation and residual blocks in a model: running statistics, state in files, buffers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv import nn
from fastconv.errors import ArgumentError, TrainingError
from fastconv.nn.layers.normalization import BatchNormStage
from networks import digits


def block(filters: int, stride: int = 1, projected: bool = False) -> nn.Residual:
    body = [
        nn.Conv2D(filters, 3, strides=stride, padding=1, use_bias=False),
        nn.BatchNorm(activation="relu"),
        nn.Conv2D(filters, 3, padding=1, use_bias=False),
        nn.BatchNorm(),
    ]
    return nn.Residual(body, [nn.Conv2D(filters, 1, strides=stride), nn.BatchNorm()] if projected else ())


def small_resnet(seed: int = 0, **options: Any) -> nn.Sequential:
    layers = [
        *(nn.Conv2D(8, 3, padding=1, use_bias=False), nn.BatchNorm(), nn.ReLU(), block(8), block(16, 2, True)),
        *(nn.GlobalAveragePool2D(), nn.Dense(10)),
    ]
    return nn.Sequential(layers, input_shape=(1, 8, 8), seed=seed, **options)


def trained(images: int = 150, **options: Any) -> nn.Sequential:
    model, (x, y) = small_resnet(), digits()
    model.compile("adam", **options)
    model.fit(x[:images], y[:images], epochs=2, batch_size=64, verbose=0)
    return model


def test_names_and_sizes(capsys: Any) -> None:
    model = small_resnet()
    assert "residual_2.shortcut.conv2d_1.bias" in model.parameters
    assert set(model.state) == {
        f"{name}.running_{what}"
        for name in (
            "batchnorm_1",
            *(f"residual_{i}.body.batchnorm_{j}" for i in (1, 2) for j in (1, 2)),
            "residual_2.shortcut.batchnorm_1",
        )
        for what in ("mean", "var")
    }
    model.summary()
    assert "residual_2" in capsys.readouterr().out


def test_it_learns_and_any_number_of_threads_gives_the_same_bits() -> None:
    one, two = (trained(threads=threads, target="cpu") for threads in (1, 2))
    np.testing.assert_array_equal(one.network.parameters.values, two.network.parameters.values)
    for name, value in one.state.items():
        np.testing.assert_array_equal(value, two.state[name])
    x, y = digits()
    one.fit(x[:1400], y[:1400], epochs=4, batch_size=32, verbose=0)
    assert one.evaluate(x[1400:], y[1400:])["accuracy"] > 0.8


def test_the_cpus_kernels_train_like_the_reference() -> None:
    x, y = digits()
    models = []
    for target in ("cpu", "numpy"):
        model = small_resnet()
        model.compile(nn.SGD(0.05, momentum=0.9), target=target)
        model.fit(x[:96], y[:96], epochs=2, batch_size=32, verbose=0)
        models.append(model)
    np.testing.assert_allclose(models[0].network.parameters.values, models[1].network.parameters.values, atol=1e-4)


def test_running_statistics_are_torchs() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    x = np.random.default_rng(0).standard_normal((12, 3, 5, 4)) * 3 + 1
    model = nn.Sequential([nn.BatchNorm(momentum=0.3), nn.Flatten(), nn.Dense(2)], input_shape=(3, 5, 4), dtype="float64")
    model.compile(nn.SGD(0.0), target="numpy")
    model.fit(x, np.zeros(12, int), epochs=2, batch_size=4, shuffle=False, verbose=0)
    theirs = torch.nn.BatchNorm2d(3, momentum=0.3, dtype=torch.float64)
    for _ in range(2):
        for start in (0, 4, 8):
            theirs(torch.from_numpy(x[start : start + 4]))
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(model.state[f"batchnorm_1.{name}"], getattr(theirs, name).numpy(), rtol=1e-12)
    theirs.eval()
    normalised = nn.Sequential([nn.BatchNorm(momentum=0.3)], input_shape=(3, 5, 4), dtype="float64")
    for name, value in model.state.items():
        normalised.state[name][...] = value
    np.testing.assert_allclose(normalised.predict(x), theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-10, atol=1e-12)


def test_rehearsal_and_a_failed_step_leave_the_state_alone() -> None:
    model, (x, y) = small_resnet(), digits()
    model.compile(nn.SGD(0.1))
    model.fit(x[:64], y[:64], epochs=1, verbose=0)
    before = {name: value.copy() for name, value in model.state.items()}
    broken = np.where(np.arange(64).reshape(8, 8) == 9, np.nan, x[:50] / 255)
    with pytest.raises(TrainingError, match=r"^loss: it is nan"):
        model.fit(broken, y[:50], batch_size=50, verbose=0)
    for name, value in model.state.items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_a_file_holds_the_state_and_describes_the_blocks(tmp_path: Path) -> None:
    model, x = trained(), digits()[0][:40]
    model.save(tmp_path / "weights")
    for other in (nn.load_model(tmp_path / "weights"), small_resnet(seed=3).load(tmp_path / "weights")):
        assert other.layers == model.layers
        np.testing.assert_array_equal(other.predict(x), model.predict(x))


def test_layers_that_are_computed_as_one_give_what_they_give_one_by_one() -> None:
    """In inference with running statistics; a Tanh between them keeps two layers apart and is undone by none."""
    x = np.random.default_rng(1).standard_normal((4, 2, 9, 11)).astype(np.float32)
    layers = [nn.Conv2D(5, 3), nn.BatchNorm(), nn.ReLU(), nn.Conv2D(6, 2), nn.ReLU(), nn.MaxPool2D(2)]
    model = nn.Sequential(layers, input_shape=(2, 9, 11), seed=2)
    step: Any = x
    for index, layer in enumerate(layers):
        alone = nn.Sequential([layer], input_shape=step.shape[1:])
        for name, value in alone.parameters.items():
            value[...] = model.parameters[f"{model.network.names[index]}.{name.partition('.')[2]}"]
        step = alone.predict(step)
    np.testing.assert_allclose(model.predict(x), step, rtol=1e-5, atol=1e-6)


def test_a_residual_block_adds_and_rectifies_in_the_last_normalisation() -> None:
    model = small_resnet()
    stages = model.network.plan(3, training=True).stages
    assert sum(isinstance(stage, BatchNormStage) for stage in stages) == 1
    gradients = [name for name, _ in model.network.memory._flat if name.startswith("gradient")]
    assert len(gradients) <= 4, "gradients do not share their buffers"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: nn.BatchNorm(momentum=-1), "momentum: "),
        (lambda: nn.BatchNorm(epsilon=float("nan")), "epsilon: "),
        (lambda: nn.BatchNorm(activation="max"), "activation: "),
        (lambda: nn.Residual([]), "body: expected at least one layer"),
        (lambda: nn.Residual([nn.ReLU()], activation="max"), "activation: "),
        (lambda: nn.Residual(nn.ReLU()), "body: expected a sequence of layers"),
        (lambda: nn.Residual([nn.ReLU()], shortcut=["x"]), "shortcut: expected a sequence of layers"),
        (
            lambda: nn.Sequential([nn.Residual([nn.Conv2D(4, 3)])], input_shape=(3, 5, 5)),
            r"residual_1: shortcut: .*\(4, 3, 3\)",
        ),
        (
            lambda: nn.Sequential([nn.Residual([nn.Dense(4)])], input_shape=(3, 5, 5)),
            r"residual_1: body.dense_1: expected \(fea",
        ),
        (lambda: nn.Sequential([nn.GlobalAveragePool2D()], input_shape=(3,)), r"globalaveragepool2d_1: expected images"),
    ],
)
def test_arguments_that_cannot_be(layer: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{message}"):
        layer()
