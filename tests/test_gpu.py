"""``pytest -m gpu``: every kernel for CUDA that is registered, on a device, against its reference in float64.

Without a device there is nothing to run, and the reason is said.  In the simulator the smallest problems are computed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import dispatch, nn, zoo
from fastconv.devices import cuda_status
from targets import SIMULATED

if not cuda_status().available:
    pytest.skip(f"no GPU: {cuda_status().reason}", allow_module_level=True)

from benchmarks.gpu import __main__ as benchmark
from benchmarks.gpu.cases import Case, OnDevice
from benchmarks.gpu.measure import Item, expected
from benchmarks.gpu.sizes import middle, of_memory, others, tiny
from benchmarks.gpu.timing import clock

pytestmark = pytest.mark.gpu

CASES = tiny() if SIMULATED else [*tiny(), *middle(), *of_memory(), *others()]
REGISTERED = [kernel for entry in dispatch.OPERATORS for kernel in dispatch.kernels(*entry) if kernel.target == "cuda"]
SLOW = ("split", "bf16", "fp16", "warpgroup")
"""In the simulator their own tests have computed them, and take seconds each."""


@pytest.fixture(autouse=True)
def _device_that_works() -> Iterator[None]:
    """A kernel that has taken the device with it shall not fail the tests behind it: with ``-n``, a new process goes on."""
    yield
    if not (SIMULATED or clock().works()) and "PYTEST_XDIST_WORKER" in os.environ:
        os._exit(1)


def runs(case: Case, kernel: Any) -> bool:
    return not (SIMULATED and any(word in kernel.algorithm for word in SLOW))


PAIRS = [
    pytest.param(case, kernel, id=f"{kernel.name}-{case.label}")
    for case in CASES
    for kernel in case.kernels()
    if runs(case, kernel)
]


@pytest.fixture(autouse=True, scope="session")
def _built() -> None:
    """All kernels, on all cores; with ``-n`` the processes build what they need."""
    if not SIMULATED and "PYTEST_XDIST_WORKER" not in os.environ:
        benchmark.built([Item(*pair.values) for pair in PAIRS])


@pytest.mark.parametrize(("case", "kernel"), PAIRS)
def test_agrees_with_the_reference_in_float64(case: Case, kernel: Any) -> None:
    call = OnDevice(case, kernel)
    call()
    assert not case.wrong(kernel, call.results(), expected(case), lambda: expected(case, np.abs))


@pytest.mark.parametrize("kernel", REGISTERED, ids=lambda kernel: kernel.name)
def test_every_kernel_has_a_case(kernel: Any) -> None:
    if any(word in kernel.algorithm for word in SLOW) and SIMULATED:
        pytest.skip("computed by the tests of its operator, too slow in the simulator to be computed twice")
    assert any(pair.values[1] is kernel for pair in PAIRS), f"{kernel.name} computes no case"


def test_the_same_bits_twice() -> None:
    for case in CASES[:1] if SIMULATED else CASES:
        if case.direction == "update":
            continue  # which goes on from what it was
        for kernel in case.kernels()[-1:] if SIMULATED else case.kernels():
            first, second = OnDevice(case, kernel), OnDevice(case, kernel)
            first()
            second()
            for one, other in zip(first.results(), second.results(), strict=True):
                assert np.array_equal(one, other), f"{kernel.name}, {case.label}"


def test_public_calls_agree_with_the_host() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 3, 5, 4), dtype=np.float32), rng.standard_normal((4, 3, 3, 3), dtype=np.float32)
    there = fc.conv2d(fc.to_device(x), fc.to_device(w), padding=1, accuracy="exact", target="cuda")
    np.testing.assert_allclose(fc.to_host(there), fc.conv2d(x, w, padding=1), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(SIMULATED, reason="the simulator has checks of its own")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_the_sanitizer_finds_nothing(tool: str) -> None:
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer, of the CUDA toolkit, is not installed")
    tiny_cases = "from benchmarks.gpu.measure import Item; from benchmarks.gpu.sizes import tiny; "
    program = tiny_cases + "[Item(case, kernel).start().results() for case in tiny() for kernel in case.kernels()]"
    words = [sanitizer, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.skipif(SIMULATED, reason="test_cuda_network.py trains smaller ones there")
def test_a_network_learns_what_it_learns_on_the_host() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (300, 1, 12, 12), np.uint8), rng.integers(0, 10, 300)
    models = [zoo.build("mnist-cnn", (1, 12, 12)) for _ in range(2)]
    for model, target in zip(models, ("cpu", "cuda"), strict=True):
        model.compile(nn.SGD(0.05, momentum=0.9), target=target)
        model.fit(x, y, 3, 32, verbose=0)  # the third step of a batch size is the first that only starts the record
    here, there = models
    np.testing.assert_allclose(there.history["loss"], here.history["loss"], rtol=1e-4)
    for name, value in here.parameters.items():
        np.testing.assert_allclose(fc.to_host(there.parameters[name]), value, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(there.predict(x), here.predict(x), rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(not SIMULATED, reason="it would take minutes, and write results")
def test_the_benchmark_of_cuda_kernels_runs_in_the_simulator(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--match", "channel_sum"]) == 0
    assert capsys.readouterr().out.split()[0] == "channel_sum_forward__parts_cuda"
    assert benchmark.main(["--match", "channel_sum", "--worker", "0", "--until", "1e12"]) == 0
    begun, done = map(json.loads, capsys.readouterr().out.splitlines())
    assert begun["begins"] == 0
    assert done["row"]["kernel"] == "channel_sum_forward__parts_cuda"
    assert "failed" not in done["row"]
