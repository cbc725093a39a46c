"""What ``python -m benchmarks.gpu`` does around kernels, none of which runs here: workers that fail, truth, bars."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import bars, flow, peers
from benchmarks.gpu.operators import conv, matmul
from benchmarks.gpu.timing import HostClock
from fastconv.dispatch import Conv


class Item:
    def __init__(self, name: str, outcome: Any = None) -> None:
        self.about = {"suite": "", "kernel": name, "case": "c", "precision": "fp32"}
        self._outcome = outcome

    def start(self) -> None: ...

    def measured(self, clock: HostClock, rounds: int) -> flow.Row:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return {"seconds": {"fastconv": 1.0}}


class Sick(HostClock):
    def works(self) -> bool:
        return False


def told(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_kernel_that_raises_makes_a_row_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    items = [Item("a", ValueError("no")), Item("b")]
    assert flow.work(items, 0, 1e12, HostClock(), 1) == 0
    rows = [said["row"] for said in told(capsys) if "begins" not in said]
    assert [row.get("failed") for row in rows] == ["ValueError: no", None]
    assert flow.work(items, 0, 1e12, Sick(), 1) == flow.SICK  # behind which another worker goes on
    assert len(told(capsys)) == 2
    assert flow.work(items, 1, 0.0, HostClock(), 1) == 0
    assert told(capsys) == [{"late": ["b c"]}]


WORKER = """
import json, os, sys, time
for place in range(int(sys.argv[1]), 5):
    about = {"kernel": str(place)}
    print(json.dumps({"begins": place, "row": about}), flush=True)
    if place == 1: os.abort()
    if place == 2: print(json.dumps({"row": about | {"failed": "x"}}), flush=True); sys.exit(3)
    if place == 3: time.sleep(60)
    print(json.dumps({"row": about}), flush=True)
"""


def test_another_worker_goes_on_behind_one_that_dies_or_hangs(tmp_path: Any) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    rows = list(flow.led(lambda first: [sys.executable, str(tmp_path / "worker.py"), str(first)], patience=2))
    assert [row["kernel"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert [row.get("failed", "")[:17] for row in rows] == ["", "the process ended", "x", "the process ended", ""]


CASES = [matmul(5, 6, 7), *conv("strided", Conv(2, 4, 5, 4, 8, 3, 3, stride=(2, 1), padding=((1, 1), (1, 1))))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operator} {case.direction}")
def test_pytorch_is_asked_for_what_the_reference_computes(case: Any) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    for change in (np.asarray, np.abs):
        (got,) = peers.exactly(torch, case, change, torch.from_numpy)
        np.testing.assert_allclose(got, case.truth(change)[0], rtol=1e-12, atol=1e-12)


def test_bars_count_the_best_kernel_of_each_case() -> None:
    bar = bars.Bar("t", "s", "fp32", bars.faster, 0.5, 0.9)

    def row(kernel: str, case: str, seconds: float, **more: Any) -> bars.Row:
        times = {"seconds": {"fastconv": seconds, "torch": 1.0}}
        return {"suite": "s", "precision": "fp32", "kernel": kernel, "case": case, **(more or times)}

    rows = [row("f__a_cuda", "1", 4.0), row("f__b_cuda", "1", 2.0), row("f__a_cuda", "2", 0.5)]
    assert bar.reached(rows) == pytest.approx(1.0)  # of 0.5 and 2
    assert bar.reached(rows[:1]) == pytest.approx(0.25)
    assert bar.reached([]) is None
    assert bar.reached([*rows, row("f__a_cuda", "3", 1.0, wrong="far off")]) == 0.0
    assert len(bars.lines(rows)) == len(bars.table(rows)) == len(bars.BARS)
