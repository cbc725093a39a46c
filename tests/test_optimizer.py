"""Every optimizer kernel of the tables against torch.optim's formulas, written out here for one parameter in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv_kernels.optimizer import ADAM_UPDATE, SGD_UPDATE, flat_cpu
from fastconv_kernels.problems import Update
from guarded import GUARD, normal, same
from targets import SIMULATED, here

DTYPES = ["float32", "float64"]
STEPS = 4
SIZES = [0, 1, 6] if SIMULATED else [0, 1, 15, 16, 17, 33, 200]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def torch_sgd(p: float, gradients: Any, lr: float, momentum: float, nesterov: bool, weight_decay: float) -> float:
    """torch.optim.SGD, from its documentation; the velocity begins with the first gradient."""
    velocity: float | None = None
    for g in gradients:
        g = g + weight_decay * p
        if momentum:
            velocity = g if velocity is None else momentum * velocity + g
            g = g + momentum * velocity if nesterov else velocity
        p = p - lr * g
    return p


def torch_adam(p: float, gradients: Any, lr: float, betas: Any, eps: float, weight_decay: float, decoupled: bool) -> float:
    """torch.optim.Adam, and AdamW, from their documentation."""
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        if decoupled:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        p = p - lr * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)) ** 0.5 + eps)
    return p


class State:
    """Parameters and what an optimizer remembers of them, between walls of NaN."""

    def __init__(self, rng: np.random.Generator, size: int, dtype: str, memories: int) -> None:
        self.walls = [np.full(size + 2 * GUARD, np.nan, dtype) for _ in range(1 + memories)]
        self.arrays = [wall[GUARD : GUARD + size] for wall in self.walls]
        for array in self.arrays[1:]:
            array[:] = 0
        self.arrays[0][:] = normal(rng, size, dtype)
        self.gradients = [normal(rng, size, dtype) for _ in range(STEPS)]

    def check(self, expected: Any, dtype: str) -> None:
        for wall in self.walls:
            assert np.isnan(wall[:GUARD]).all()
            assert np.isnan(wall[len(wall) - GUARD :]).all()
        eps = float(np.finfo(dtype).eps)
        np.testing.assert_allclose(self.arrays[0], expected, rtol=20 * eps, atol=20 * eps)


def numbered(kernels: Any) -> Any:
    return pytest.mark.parametrize("kernel", here(kernels), ids=lambda kernel: kernel.name)


def skip_if_refused(kernel: Any, problem: Update) -> None:
    if reasons := kernel.refuses(problem):
        pytest.skip("; ".join(reasons))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("momentum", "nesterov", "weight_decay"), [(0.0, False, 0.0), (0.0, False, 0.1), (0.9, False, 0.0), (0.8, True, 0.05)]
)
@numbered(SGD_UPDATE)
def test_sgd(
    kernel: Any, momentum: float, nesterov: bool, weight_decay: float, dtype: str, size: int, rng: np.random.Generator
) -> None:
    skip_if_refused(kernel, Update(size, dtype))
    state = State(rng, size, dtype, 1 if momentum else 0)
    expected = [
        torch_sgd(float(p), np.array(gradients, "d"), 0.1, momentum, nesterov, weight_decay)
        for p, *gradients in zip(state.arrays[0], *state.gradients, strict=True)
    ]
    plan = kernel.plan(Update(size, dtype), 1)
    parameters, *velocity = state.arrays
    options = {"learning_rate": 0.1, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    for gradient in state.gradients:
        plan(parameters, gradient, *velocity, **options)
    state.check(expected, dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("weight_decay", "decoupled"), [(0.0, False), (0.1, False), (0.1, True)])
@numbered(ADAM_UPDATE)
def test_adam(kernel: Any, weight_decay: float, decoupled: bool, dtype: str, size: int, rng: np.random.Generator) -> None:
    skip_if_refused(kernel, Update(size, dtype))
    state = State(rng, size, dtype, 2)
    expected = [
        torch_adam(float(p), np.array(gradients, "d"), 0.01, (0.8, 0.99), 1e-6, weight_decay, decoupled)
        for p, *gradients in zip(state.arrays[0], *state.gradients, strict=True)
    ]
    plan = kernel.plan(Update(size, dtype), 1)
    parameters, mean, square = state.arrays
    options = {"learning_rate": 0.01, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-6, "weight_decay": weight_decay}
    for step, gradient in enumerate(state.gradients, 1):
        plan(parameters, gradient, mean, square, step=step, decoupled=decoupled, **options)
    state.check(expected, dtype)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_the_same_bits_for_any_number_of_threads(optimizer: str) -> None:
    problem, results = Update(2 * flat_cpu.GRAIN + 5), []
    kernel = ADAM_UPDATE[0] if optimizer == "adam" else SGD_UPDATE[0]
    assert kernel.plan(problem, 2).threads == 2
    for threads in (1, 2):
        state = State(np.random.default_rng(4), problem.size, "float32", {"sgd": 0, "momentum": 1, "adam": 2}[optimizer])
        options: dict[str, Any] = {"step": 1} if optimizer == "adam" else {"momentum": 0.9 if optimizer == "momentum" else 0.0}
        parameters, *memory = state.arrays
        kernel.plan(problem, threads)(parameters, state.gradients[0], *memory, learning_rate=0.1, **options)
        results.append(parameters)
    same(results[1], results[0], kernel.name)


def test_nan_stays_where_it_is() -> None:
    for kernel, memory in ((SGD_UPDATE[0], 1), (ADAM_UPDATE[0], 2)):
        gradient = np.zeros(19, "float32")
        gradient[[3, 18]] = np.nan
        parameters, *state = (np.zeros(19, "float32") for _ in range(1 + memory))
        options = {"step": 1} if kernel.operator == "adam" else {"momentum": 0.5}
        kernel.plan(Update(19), 1)(parameters, gradient, *state, learning_rate=0.1, **options)
        assert np.flatnonzero(np.isnan(parameters)).tolist() == [3, 18]
