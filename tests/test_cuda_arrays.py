"""Arrays on a device through the public calls: whose they are, what is checked, what comes back; the device is simulated.

Without it the same calls say what is missing (``test_bad_input.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.bench import serve, suites
from fastconv.bench.cases import READERS, Case
from fastconv.bench.contestants import on_device, ours
from fastconv.bench.contestants.operands import Operands
from fastconv_kernels.cuda.device_array import DeviceArray
from guarded import integers
from targets import SIMULATED

if not SIMULATED:
    pytest.skip("needs the simulator: NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)

from fastconv_kernels.cuda import launch, libraries, transfers
from fastconv_kernels.cuda.libraries import SimulatedArray

RNG = np.random.default_rng(0)
A, B = integers(RNG, (3, 4), "float32"), integers(RNG, (4, 2), "float32")
X, W = integers(RNG, (1, 2, 4, 3), "float32"), integers(RNG, (2, 2, 3, 3), "float32")
BIAS, Y = integers(RNG, (2,), "float32"), integers(RNG, (1, 2, 4, 3), "float32")


def last(images: Any) -> Any:
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


CALLS = {
    "matmul": lambda a, b: fc.matmul(a, b),
    "matmul, precision": lambda a, b: fc.matmul(a, b, precision="tf32"),
    "vectors": lambda a, b: fc.matmul(a[0], b),
    "linear": lambda a, b: fc.linear(a, b.T, activation="relu"),
    "conv2d": lambda x, w, bias, y: fc.conv2d(x, w, bias, padding=1, residual=y, activation="relu"),
    "conv2d, one image, sigmoid": lambda x, w, bias, y: fc.conv2d(x[0], w, bias, activation="sigmoid"),
    "conv2d, backward_input": lambda x, w, bias, y: fc.conv2d_backward_input(y, w, x.shape, padding=1),
    "conv2d, backward_weight": lambda x, w, bias, y: fc.conv2d_backward_weight(y, x, w.shape, padding=1),
    "conv_transpose2d": lambda x, w, bias, y: fc.conv_transpose2d(x, w, None, 2, 1, activation="relu"),
    "adaptive_max_pool2d": lambda x, w, bias, y: fc.adaptive_max_pool2d(x, (3, 2), return_indices=True),
    "max_pool2d": lambda x, w, bias, y: fc.max_pool2d(x, 2, return_indices=True),
    "avg_pool2d": lambda x, w, bias, y: fc.avg_pool2d(x, 2, padding=1),
    "relu": lambda a, b: fc.relu(a),
    "relu_backward": lambda a, b: fc.relu_backward(a, a),
    "maxout": lambda a, b: fc.maxout(a, 2),
    "softmax": lambda a, b: fc.softmax(a, axis=0),
    "cross_entropy": lambda a, b: fc.cross_entropy(a, [1, 0, 3])[1],
    "batch_norm": lambda x, w, bias, y: fc.batch_norm(x, None, None, bias, bias, True, return_statistics=True)[0],
}
"""Of A and B, or of X, W, BIAS and Y."""


def arguments_of(call: Any) -> tuple[Any, ...]:
    return (A, B) if call.__code__.co_argcount == 2 else (X, W, BIAS, Y)


def close(got: Any, expected: Any) -> None:
    assert isinstance(got, SimulatedArray)
    np.testing.assert_allclose(fc.to_host(got), expected, rtol=1e-6, atol=1e-6)
    assert got.dtype == expected.dtype


@pytest.mark.parametrize("name", CALLS)
def test_what_goes_in_on_a_device_comes_out_there(name: str) -> None:
    call = CALLS[name]
    given = arguments_of(call)
    expected = call(*given)
    got = call(*map(OnDevice, given))
    for one, other in zip(*((part if isinstance(part, tuple) else (part,)) for part in (got, expected)), strict=True):
        close(one, other)


class OnDevice(SimulatedArray):
    """An array of some library: with indices and transposes, whose strides are not C's."""

    def __getitem__(self, index: int) -> OnDevice:
        return OnDevice(self.host[index])

    @property
    def T(self) -> OnDevice:
        return OnDevice(self.host.T)


def test_there_and_back() -> None:
    there = fc.to_device(A.T)
    assert isinstance(there, SimulatedArray)
    assert there.__dlpack_device__() == (2, 0)
    assert fc.to_device(there) is there
    back = fc.to_host(there)
    assert np.array_equal(back, A.T)
    assert not np.may_share_memory(back, there.host)
    assert np.array_equal(fc.to_host(OnDevice(A[::2, ::3])), A[::2, ::3])
    assert fc.to_host(fc.to_device(np.zeros((0, 3), "int64"))).shape == (0, 3)
    with pytest.raises(fc.ArgumentError, match=r"^device: expected a number below 1"):
        fc.to_device(A, 1)
    with pytest.raises(fc.DtypeError, match=r"^array: expected numbers"):
        fc.to_device(np.array(["a"]))


def test_out_is_written_and_given_back() -> None:
    a, b, out = map(fc.to_device, (A, B, np.full((3, 2), np.nan, "float32")))
    assert fc.matmul(a, b, out=out) is out
    assert np.array_equal(fc.to_host(out), A @ B)
    x = fc.to_device(A)
    assert fc.relu(x, out=x) is x
    assert fc.to_host(x).min() == 0
    rows = fc.to_device(np.zeros((1, 2, 3), "float32"))
    x, w = fc.to_device(X[:, :, 0]), fc.to_device(W[:, :, 0])
    assert fc.conv1d(x, w, padding=1, out=rows) is rows
    assert np.array_equal(fc.to_host(rows), fc.conv1d(X[:, :, 0], W[:, :, 0], padding=1))


def test_copies_to_and_fro_where_the_target_says_so() -> None:
    out = np.full((3, 2), np.nan, "float32")
    assert fc.matmul(A, B, out=out, target="cuda") is out
    assert np.array_equal(out, A @ B)
    with fc.use(target="cuda"):
        got = fc.conv2d(last(X), W.transpose(2, 3, 1, 0), padding=1, layout="NHWC")
    assert isinstance(got, np.ndarray)
    assert np.array_equal(got, last(fc.conv2d(X, W, padding=1)))
    x = A.copy()
    assert fc.relu(x, out=x, target="cuda") is x
    assert np.array_equal(x, np.maximum(A, 0))


def test_plans() -> None:
    plan = fc.plan_conv2d(X.shape, W.shape, padding=1, target="cuda")
    expected = fc.conv2d(X, W, BIAS, padding=1)
    weight = fc.to_device(W)
    packed = plan.pack(weight)
    weight.host[:] = 0
    close(plan(fc.to_device(X), packed, fc.to_device(BIAS)), expected)
    assert np.array_equal(plan(X, W, BIAS), expected)
    host = fc.plan_conv2d(X.shape, W.shape, padding=1)
    with pytest.raises(fc.ArgumentError, match=r"^target: expected cuda, where x lives"):
        host(fc.to_device(X), weight)


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
    "strides below 0": (fc.UnsupportedError, "an array on a device with strides", lambda: fc.relu(OnDevice(A[::-1]))),
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


def test_libraries_make_their_own_arrays_on_their_own_streams() -> None:
    """CuPy and PyTorch are not here: what is asked of them."""
    asked = []

    class Torch(SimpleNamespace):
        float32 = "torch.float32"
        cuda = SimpleNamespace(current_stream=lambda device: SimpleNamespace(cuda_stream=40 + device))

        def empty(self, shape: Any, **keywords: Any) -> str:
            asked.append((shape, keywords))
            return "a tensor"

    torch = libraries.Torch(Torch())
    assert torch.empty((2, 3), np.dtype("float32"), 1) == "a tensor"
    assert asked == [((2, 3), {"dtype": "torch.float32", "device": "cuda:1"})]
    assert torch.stream(2) == 42


def test_kernels_run_on_the_caller_s_stream_behind_those_of_other_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnStream(OnDevice):
        stream: int | None = None

        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            return {**super().__cuda_array_interface__, "stream": self.stream}

    seen = []

    @contextmanager
    def working_on(device: int, stream: int, others: Any) -> Iterator[None]:
        seen.append((device, stream, list(others)))
        yield

    a, b = OnStream(A), OnStream(B)
    a.stream, b.stream = 7, 9
    monkeypatch.setattr(launch, "working_on", working_on)
    monkeypatch.setattr(libraries.Simulated, "stream", lambda self, device: 7)
    fc.matmul(a, b)
    assert seen == [(0, 7, [9])]


def test_arrays_that_record_gradients_are_no_arrays_here() -> None:
    class Recording(OnDevice):
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


def test_explain_takes_a_precision() -> None:
    problem = fc.Matmul(256, 256, 256)
    assert fc.explain(problem, target="cuda", precision="fp32").chosen == "matmul_forward__tensor_core_split_cuda"
    assert "tf32" in str(fc.explain(problem, target="cuda", precision="tf32").chosen)


def test_views_of_a_device_array_are_numpy_s() -> None:
    host = np.arange(24, dtype="float32").reshape(2, 3, 4)
    there = libraries.on_device(SimulatedArray(host))

    def same(got: DeviceArray, expected: Any) -> None:
        assert (got.shape, got.address) == (expected.shape, expected.__array_interface__["data"][0])
        strides = zip(got.strides, expected.strides, got.shape, strict=True)
        assert all(own == other for own, other, size in strides if size != 1)
        assert got.flags.c_contiguous == expected.flags.c_contiguous

    for view in (
        lambda a: a[None],
        lambda a: a[1],
        lambda a: a.reshape(6, -1),
        lambda a: a.transpose(2, 0, 1),
        lambda a: a.T,
        lambda a: a.swapaxes(-1, 0),
        lambda a: a[1].T.reshape(4, 1, 3),
        lambda a: np.moveaxis(a, 0, -1),
        lambda a: np.expand_dims(a, -2),
        lambda a: np.squeeze(a.reshape(2, 1, 12), 1),
    ):
        same(view(there), view(host))
    copied = there.T.reshape((12, 2)).owner.host
    assert np.array_equal(copied.reshape(12, 2), host.T.reshape(12, 2))


@pytest.mark.parametrize(
    ("operator", "direction", "text", "precision"),
    [
        ("conv", "forward", "n1 c2 4x4 k2 3x3 p1", "tf32"),
        ("conv", "backward_weight", "n1 c2 4x4 k2 3x3 p1", None),
        ("matmul", "forward", "3x2x4", None),
        ("pool", "forward", "max n1 c2 4x4 2x2 s2", "tf32"),
    ],
)
def test_the_benchmark_asks_a_device(operator: str, direction: str, text: str, precision: str | None) -> None:
    case = Case(operator, direction, READERS[operator][1](text), text)
    operands = Operands(case)
    right = ours.entry(case, operands, 1, algorithm="reference")
    for contestant in suites.with_device(suites.Suite(operator, direction, (), ()), precision).contestants:
        entry = on_device.entry(case, operands, 1, **contestant.options)
        assert entry.kernel.endswith("_cuda")
        serve.verify(entry, np.array(right.result(right.call())))
    assert on_device.entry(Case("stream", "forward", None, ""), operands, 1) is None
    step = Case("train", "step", READERS["train"][1]("softmax n2 1x2x2 2 1"), "")
    assert [on_device.entry(step, Operands(step), 1, **way) is None for way in ({}, {"moved": True})] == [False, True]
