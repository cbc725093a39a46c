"""Settings of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, and no limit on the time of one: the first call of a kernel compiles it.
settings.register_profile("fastconv", derandomize=True, deadline=None)
settings.load_profile("fastconv")


@pytest.fixture
def without_mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The UCI digits are all the data there is, unless a test says otherwise; kernels stay where they are cached."""
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    monkeypatch.setenv("FASTCONV_OFFLINE", "1")
    monkeypatch.setattr("fastconv.data.mnist.user_folder", lambda: tmp_path / "no-mnist")


@pytest.fixture(autouse=True)
def _untuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody has measured on this machine decides nothing in a test."""
    monkeypatch.setenv("FASTCONV_TUNING", "off")
