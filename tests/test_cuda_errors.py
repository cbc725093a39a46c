"""What goes wrong with arrays on a device, simulated: what cannot be is refused, failures are said, the host goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from guarded import integers
from targets import SIMULATED

if not SIMULATED:
    pytest.skip("needs the simulator: NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)

from fastconv_kernels.cuda import libraries, transfers
from fastconv_kernels.cuda.libraries import SimulatedArray

RNG = np.random.default_rng(0)
A, B = integers(RNG, (3, 4), "float32"), integers(RNG, (4, 2), "float32")
X, W, BIAS = integers(RNG, (1, 2, 4, 3), "float32"), integers(RNG, (2, 2, 3, 3), "float32"), integers(RNG, (2,), "float32")

THERE = {name: fc.to_device(value) for name, value in {"A": A, "B": B, "X": X, "W": W, "bias": BIAS}.items()}
REFUSED = {
    "b on the host": (fc.ArgumentError, "b: expected an array on cuda:0 as a is", lambda: fc.matmul(THERE["A"], B)),
    "a on the host": (fc.ArgumentError, "a: expected an array on cuda:0 as b is", lambda: fc.matmul(A, THERE["B"])),
    "bias on the host": (fc.ArgumentError, "bias: expected", lambda: fc.conv2d(THERE["X"], THERE["W"], BIAS)),
    "out on the host": (fc.ArgumentError, "out: expected", lambda: fc.relu(THERE["A"], out=np.zeros((3, 4), "float32"))),
    "out alone on the device": (fc.ArgumentError, "out: expected a NumPy array", lambda: fc.relu(A, out=THERE["A"])),
    "the CPU": (
        fc.ArgumentError,
        "target: expected cuda, where a lives",
        lambda: fc.matmul(THERE["A"], THERE["B"], target="cpu"),
    ),
    "shapes": (fc.ArgumentError, "b: expected 4 rows", lambda: fc.matmul(THERE["A"], THERE["A"])),
    "out's shape": (fc.ArgumentError, "out: expected shape", lambda: fc.matmul(THERE["A"], THERE["B"], out=THERE["A"])),
    "out is an input": (
        fc.ArgumentError,
        "out: expected memory of its own",
        lambda: fc.linear(THERE["S"], THERE["S"], out=THERE["S"]),
    ),
    "float64": (fc.UnsupportedError, "no kernel computes", lambda: fc.matmul(A.astype("f8"), B.astype("f8"), target="cuda")),
    "reflected": (
        fc.UnsupportedError,
        "numpy.pad",
        lambda: fc.conv2d(THERE["X"], THERE["W"], None, 1, 1, padding_mode="reflect"),
    ),
    "transposed, with a bias": (
        fc.UnsupportedError,
        "bias: expected None",
        lambda: fc.conv_transpose2d(THERE["X"], THERE["W"], THERE["bias"]),
    ),
    "indices alone": (
        fc.UnsupportedError,
        "kernel_size: expected",
        lambda: fc.max_pool2d_backward(THERE["X"], fc.to_device(np.zeros(X.shape, "int64")), (1, 2, 8, 6)),
    ),
    "another precision": (
        fc.UnsupportedError,
        '(.|\n)*precision="bf16" was asked for, it rounds to tf32',
        lambda: fc.matmul(THERE["A"], THERE["B"], precision="bf16", algorithm="tensor_core_tf32"),
    ),
    "strides below 0": (fc.UnsupportedError, "an array on a device with strides", lambda: fc.relu(SimulatedArray(A[::-1]))),
    "overlapping host arrays": (fc.ArgumentError, "out: expected memory", lambda: fc.relu(A[:2], out=A[1:], target="cuda")),
}
THERE["S"] = fc.to_device(np.zeros((3, 3), "float32"))


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_argument(name: str) -> None:
    error, message, call = REFUSED[name]
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_nothing_is_left_on_the_device_after_an_error() -> None:
    with pytest.raises(fc.ArgumentError):
        fc.matmul(THERE["A"], B)
    assert np.array_equal(fc.matmul(A, B), A @ B), "the host's kernels do not compute any more"


def test_errors_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = fc.to_device(A), fc.to_device(B)
    of_the_driver = type("CUDAError", (Exception,), {"__module__": "cuda.core"})
    for raised, expected in (
        (MemoryError("full"), fc.DeviceMemoryError),
        (of_the_driver("CUDA_ERROR_OUT_OF_MEMORY: …"), fc.DeviceMemoryError),
        (RuntimeError("lost"), fc.DeviceError),
        (of_the_driver("CUDA_ERROR_DEVICE_UNAVAILABLE"), fc.DeviceError),
    ):

        def fail(*_: Any, error: Exception = raised) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(libraries.Simulated, "empty", fail)
            with pytest.raises(expected, match=r"^the CUDA device"):
                fc.matmul(a, b)
    assert np.array_equal(fc.matmul(A, B), A @ B)


def test_more_elements_than_kernels_count_are_refused_before_anything_is_touched() -> None:
    wide, narrow = (np.lib.stride_tricks.as_strided(np.zeros(1, "float32"), (1 << 16, 1 << n), (0, 0)) for n in (15, 2))
    for x in (SimulatedArray(wide), wide):
        with pytest.raises(fc.ArgumentError, match=r"^x: expected at most 2\*\*31 - 1 elements, which kernels for CUDA"):
            fc.relu(x, target="cuda")
    gaps = np.lib.stride_tricks.as_strided(np.zeros(1, "float32"), (2, 2), (1 << 33, 4))
    with pytest.raises(fc.ArgumentError, match=r"^b: expected at most 2\*\*31 - 1 elements"):
        fc.matmul(SimulatedArray(np.zeros((2, 2), "float32")), SimulatedArray(gaps))
    with pytest.raises(fc.UnsupportedError, match=r"^out: kernels for CUDA count at most 2\*\*31 - 1 elements"):
        fc.matmul(SimulatedArray(narrow), SimulatedArray(narrow.T))
    model = nn.Sequential([nn.Dense(1 << 16)], input_shape=(1,))
    model.compile(target="cuda")
    with pytest.raises(fc.ArgumentError, match=r"^batch_size: kernels for CUDA count at most"):
        model.predict(np.zeros((1 << 15, 1), "float32"), batch_size=1 << 15)


def test_a_network_says_what_happened_to_its_device_and_can_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = nn.Sequential([nn.Dense(2)], input_shape=(3,)), np.ones((2, 3), "float32")
    model.compile("sgd", target="cuda")

    def lost(*_: Any) -> None:
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

    with monkeypatch.context() as patch:
        patch.setattr(transfers, "move", lost)
        with pytest.raises(fc.DeviceError, match=r"^the CUDA device failed: CUDA_ERROR_ILLEGAL_ADDRESS"):
            model.fit(images, np.zeros(2, int), verbose=0)
    model.compile("sgd", target="numpy")
    model.fit(images, np.zeros(2, int), verbose=0)
    assert np.isfinite(model.predict(images)).all()


def test_arrays_that_record_gradients_are_no_arrays_here() -> None:
    class Recording(SimulatedArray):
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            raise RuntimeError("detach it first")

    with pytest.raises(fc.DtypeError, match=r"^a: expected an array, but reading it as one fails: detach it first"):
        fc.matmul(Recording(A), THERE["B"])


def test_a_network_that_has_begun_on_the_host_stays_there() -> None:
    model, images = fc.zoo.build("softmax", (1, 2, 2), 2), np.zeros((2, 1, 2, 2), "uint8")
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
    with fc.use(target="numpy"):
        model.predict(images)
    with fc.use(target="cuda"), pytest.raises(fc.TargetUnavailableError, match=r"^target: .*compile it anew"):
        model.fit(images, np.zeros(2, int), epochs=1, verbose=0)
