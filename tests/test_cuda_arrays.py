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
from fastconv.bench import serve, suites
from fastconv.bench.cases import READERS, Case
from fastconv.bench.contestants import on_device, ours
from fastconv.bench.contestants.operands import Operands
from fastconv_kernels.cuda.device_array import DeviceArray
from guarded import integers
from targets import SIMULATED

if not SIMULATED:
    pytest.skip("needs the simulator: NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)

from fastconv_kernels.cuda import launch, libraries
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
