"""Dropout: every kernel drops what the reference drops, which draws the numbers of the generator's paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv_kernels.dropout import FORWARD, philox, philox_cpu, reference
from fastconv_kernels.problems import Dropout
from guarded import guarded, normal
from targets import SIMULATED, here

KEY = 0x9ABCDEF0, 0x12345678
SIZES = [0, 1, 4, 39] if SIMULATED else [0, 1, 3, 4, 5, 33, 127, 1000]
KNOWN = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
"""(counter, key, words), from the known answers of the paper's authors, Random123."""


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_the_generator_gives_the_known_numbers(counter: Any, key: Any, expected: str) -> None:
    assert [f"{word:08x}" for word in philox.rounds(*counter, *key)] == expected.split()
    assert [f"{word:08x}" for word in reference.philox(np.array([counter], np.uint64), key)[0]] == expected.split()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", here(FORWARD), ids=lambda kernel: kernel.name)
def test_drops_what_the_reference_drops(kernel: Any, dtype: str) -> None:
    if reasons := kernel.refuses(Dropout(1, 0.5, dtype)):
        pytest.skip("; ".join(reasons))
    rng = np.random.default_rng(0)
    for size in SIZES:
        x, problem = normal(rng, size, dtype), Dropout(size, 0.3, dtype)
        x[size // 2 :][:2] = [np.nan, np.inf][: size - size // 2]  # NaN stays NaN dropped or not, and infinity times 0 is it
        for step in (0, 7, 2**33 + 5):
            expected, steps = np.empty_like(x), np.array([step])
            FORWARD[-1].plan(problem, 1)(x, expected, KEY, steps)
            with guarded(size, dtype, complete=False) as out:
                kernel.plan(problem, 1)(x, out, KEY, steps)
                np.testing.assert_array_equal(out, expected)
        kernel.plan(problem, 1)(x, x, KEY, steps)  # in place
        np.testing.assert_array_equal(x, expected)


@pytest.mark.skipif(SIMULATED, reason="the host's kernels")
def test_the_same_bits_for_any_number_of_threads() -> None:
    x = np.ones(3 * philox_cpu.GRAIN + 2, np.float32)
    results = [FORWARD[0].plan(Dropout(x.size, 0.5), threads)(x, np.empty_like(x), KEY, np.array([3])) for threads in (1, 2)]
    np.testing.assert_array_equal(*results)


@pytest.mark.skipif(SIMULATED, reason="the host's kernels")
def test_drops_the_share_that_is_asked_for_and_nothing_twice_alike() -> None:
    x, count = np.ones(400_000, np.float32), 400_000
    for rate in (0.0, 0.1, 0.5, 0.9):
        dropped = [fc.dropout(x, rate, seed=seed, step=step) == 0 for seed, step in ((0, 0), (0, 1), (1, 0))]
        spread = 5 * (rate * (1 - rate) / count) ** 0.5  # five standard deviations
        for which in dropped:
            assert abs(which.mean() - rate) <= spread
            assert abs(which[:-1][which[1:]].mean() - rate) <= 2 * spread / max(rate, 1e-9) ** 0.5 if rate else True
        for one, other in ((0, 1), (0, 2)):  # as good as independent
            assert abs((dropped[one] & dropped[other]).mean() - rate**2) <= 2 * spread


def test_the_call_on_cpu_or_cuda() -> None:
    x = np.arange(1, 13, dtype="float32").reshape(3, 4)[:, ::2]
    target = "cuda" if SIMULATED else None
    out = np.empty((3, 2), "float32")
    assert fc.dropout(x, 0.25, seed=3, step=5, out=out, target=target) is out
    assert set(np.round(out / x * 0.75)[out != 0].ravel()) == {1.0}
    np.testing.assert_array_equal(fc.dropout(x, 0.25, seed=3, step=5, algorithm="reference", target="numpy"), out)
    np.testing.assert_array_equal(fc.dropout(x, 0.0, seed=3, target=target), x)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"rate": 1.0}, fc.ArgumentError, r"^rate: expected a number in \[0, 1\), got 1.0"),
        ({"rate": "a"}, fc.ArgumentError, "^rate: "),
        ({"seed": -1}, fc.ArgumentError, "^seed: expected an integer of at least 0, got -1"),
        ({"step": 1.5}, fc.ArgumentError, "^step: expected an integer of at least 0, got 1.5"),
        ({"step": 1 << 63}, fc.ArgumentError, r"^step: expected an integer below 2\*\*63, got 9223372036854775808"),
        ({"x": np.zeros(3, int)}, fc.DtypeError, "^x: "),
    ],
)
def test_bad_arguments(changed: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fc.dropout(**{"x": np.zeros(3), "rate": 0.5, "seed": 0, **changed})
