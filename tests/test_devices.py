"""What ``fastconv.devices`` says of a driver, and of its absence."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pytest

from fastconv import devices
from targets import SIMULATED

if SIMULATED:
    pytest.skip("the simulator is a device that needs no driver", allow_module_level=True)

from benchmarks.gpu import __main__ as benchmark


class Driver:
    """Stands in for libcuda: answers as it was told to."""

    def __init__(
        self, initialised: int = 0, version: int = 13000, devices: int = 1, capability: tuple[int, int] = (9, 0)
    ) -> None:
        self.initialised, self.version, self.devices, self.capability = initialised, version, devices, capability

    def cuInit(self, flags: int) -> int:
        return self.initialised

    def cuDriverGetVersion(self, answer: Any) -> int:
        return self._give(answer, self.version)

    def cuDeviceGetCount(self, answer: Any) -> int:
        return self._give(answer, self.devices)

    def cuDeviceGetAttribute(self, answer: Any, attribute: int, device: int) -> int:
        return self._give(answer, self.capability[attribute - devices.MAJOR])

    def _give(self, answer: Any, number: int) -> int:
        answer._obj.value = number
        return 0


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    devices.cuda_status.cache_clear()
    yield
    devices.cuda_status.cache_clear()


DRIVERS = {
    "good": (Driver(), ""),
    "newer": (Driver(version=13020, capability=(12, 0)), ""),
    "too old": (Driver(version=12040), "the NVIDIA driver is too old: it knows CUDA 12.4, needed is 13.0"),
    "no device": (Driver(devices=0), "finds no device"),
    "an old device": (Driver(capability=(7, 5)), "compute capability 7.5, needed is 8.0"),
    "not initialised": (Driver(initialised=100), "answers cuInit with error 100"),
}


@pytest.mark.parametrize("name", DRIVERS)
def test_what_a_driver_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, reason = DRIVERS[name]
    monkeypatch.setattr(ctypes, "CDLL", lambda library: driver)
    monkeypatch.setattr(devices, "missing_packages", lambda: "")
    status = devices.cuda_status()
    assert status.available == (not reason)
    assert reason in status.reason


def test_everything_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(library: str) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", absent)
    monkeypatch.setattr(devices, "NEEDED_PACKAGES", {"numpy": "numpy", "no_such_module.core": "no-such-package"})
    status = devices.cuda_status()
    assert not status.available
    assert "there is no NVIDIA driver" in status.reason
    assert 'the extra "cuda13" is not installed (missing: no-such-package)' in status.reason


def test_the_benchmark_says_that_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(benchmark, "cuda_status", lambda: devices.CudaStatus(False, 0, "there is no driver"))
    assert benchmark.main([]) == 2
    assert capsys.readouterr().err == "no GPU: there is no driver\n"
