"""``fastconv bench``: what is asked for, what is wrong, what is kept, and what became slower."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import regressions
from command_line import fails
from fastconv.bench import cases, ceilings, comparison, guard, roofline, session, suites
from fastconv.bench.ceilings import Ceilings
from fastconv.bench.contestants import Answer, our_streams, ours, sizes
from fastconv.bench.contestants.operands import Operands
from fastconv.bench.session import Request
from fastconv.cli import bench as cli_bench
from fastconv.cli import main
from fastconv.devices import CudaStatus

ONE = ("bench", "conv", "--shapes", "n1 c2 8x8 k3 3x3", "--direction", "forward", "--against", "", "--threads", "1", "--quick")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("conv --shapes resnet", "--shapes: expected a file, a shape in quotes, or some of alexnet"),
        ("conv --against torhc", "--against: expected some of torch, numpy, scipy, cupy, got 'torhc'"),
        ("conv --algorithm fft", "algorithm: expected one of all"),
        ("conv --precision fp8", "precision: expected one of"),
        ("conv --targets cuda", "target: cuda cannot be used"),
        ("conv --target tpu", "--targets: expected some of cpu, cuda, got 'tpu'"),
        ("matmul --direction backward_weight", "--direction: matmul has no backward_weight"),
        ("matmul --shapes 3x4", "SHAPE: expected MxNxK"),
        ("train --shapes 'resnet n1 1x28x28 10 1'", "SHAPE: model: expected one of softmax, mlp"),
        ("train --shapes 'lenet5 n1 1x2x2 10 1'", "SHAPE: maxpool2d_2: pool_size"),
        ("train --shapes 'lenet5 n0 1x28x28 10 1'", "SHAPE: expected at least 1 image"),
        ("elementwise --shapes 'gelu forward n1 c2 3x3 2'", "SHAPE: expected one of elementwise forward, "),
        ("all --shapes some/file.txt", "--shapes: expected names of networks for all"),
        ("conv --threads 1,99999", "--threads: expected at most "),
        ("conv --threads two", "argument --threads: expected integers of at least 1"),
        ("pooling", "argument WHAT: invalid choice"),
        ("conv --json no/such/folder/rows.json", "--json: no/such/folder/rows.json cannot be written"),
        ("--compare no.json no.json", "--compare: no.json cannot be read"),
    ],
)
def test_a_mistake_is_answered_before_anything_is_measured(
    words: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "rows", lambda *_: pytest.fail("measured"))
    assert fails(capsys, "bench", *shlex.split(words)).startswith(message)


def test_a_bad_line_is_told_with_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "shapes.txt"
    file.write_text("# ours\n3 n1 c2 8x8 k3 3x3\nn1 c2 k3 3x3\n")
    assert fails(capsys, "bench", "conv", "--shapes", file).startswith(f"--shapes: {file}:3: expected kernel RxS")
    file.write_text("# nothing\n")
    assert fails(capsys, "bench", "conv", "--shapes", file) == f"--shapes: {file} has no shape in it"
    file.write_bytes(b"\xff\xfe")
    assert fails(capsys, "bench", "conv", "--shapes", file).startswith(f"--shapes: {file} cannot be read")


@pytest.mark.parametrize("operator", session.OPERATORS)
def test_every_operator_has_something_to_measure(operator: str) -> None:
    for quick in (False, True):
        found = session.parts(Request((operator,), quick=quick, threads=(1, 2) if operator == "matmul" else (1,)))
        assert all(part.cases and part.suite.contestants for part in found)


def test_a_session_of_everything_tells_the_choice_and_the_gain_of_threads() -> None:
    found = session.parts(Request(tuple(session.OPERATORS), quick=True, threads=(2,)))
    names = [(part.name, part.threads) for part in found]
    assert names.count((session.CHOICES, 2)) == 1
    assert [name for name, threads in names if threads == 1] == list(session.SCALED)
    alone = next(part for part in found if part.threads == 1)
    assert {each.name for each in alone.suite.contestants} == {"FMA peak", "tile", "fastconv NHWC", "fastconv NCHW"}
    (choices,) = [part for part in found if part.name == session.CHOICES]
    assert all(each.name == "FMA peak" or each.options["willing"] for each in choices.suite.contestants)
    case = cases.cases("conv", "forward", ["quick"])[0]
    assert ours.entry(case, Operands(case), 1, algorithm="winograd", willing=True) is None
    assert not any(part.threads == 1 for part in session.parts(Request(("conv",), quick=True, threads=(2,))))


def test_shapes_of_files_and_texts_come_together(tmp_path: Path) -> None:
    file = tmp_path / "shapes.txt"
    file.write_text("2 n4 c2 8x8 k3 3x3  # twice\nn1 c5 8x8 k3 1x1\n")
    (part,) = session.parts(Request(("conv",), (str(file), "n1 c5 8x8 k3 1x1", "lenet5"), ("forward",), batch=3))
    assert [case.problem.N for case in part.cases] == [3, 3, 3, 3]
    assert [case.text.split()[1] for case in part.cases] == ["c2", "c5", "c1", "c6"]


def test_rows_are_printed_and_kept(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    assert main([*ONE, "--algorithm", "implicit_gemm", "--json", str(file)]) == 0
    assert "implicit_gemm_cpu" in capsys.readouterr().out
    kept = json.loads(file.read_text())
    assert kept["machine"]["lanes"]
    assert kept["GB/s"]["1"]["memory"] > 0
    (row,) = kept["rows"]
    assert (row["suite"], row["threads"], row["case"]) == ("forward", 1, "n1 c2 8x8 k3 3x3")
    for name, seconds in row["seconds"].items():
        assert name.startswith("fastconv")
        assert 0 < row["least"][name] <= seconds
        assert row["spread"][name] >= 0


def row(**changes: Any) -> dict[str, Any]:
    made = {"suite": "forward", "threads": 1, "case": "c", "occurs": {}, "flops": 1e9, "peak": 100.0, "kernels": {}}
    return made | {"seconds": {"fastconv": 1.0}, "spread": {"fastconv": 0.02}} | changes


def test_what_is_wrong_is_named_and_not_timed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"fastconv NHWC": "AssertionError: wrong: it differs by 1"}
    monkeypatch.setattr(suites, "rows", lambda *_: iter([row(seconds={}, spread={}, failed=failed)]))
    monkeypatch.setattr(ceilings, "measured", lambda threads: Ceilings(1.0, {"memory": 1.0}, {"memory": 2.0}))
    assert main(ONE) == 1
    printed = capsys.readouterr()
    assert "WRONG, and not timed: c: fastconv NHWC" in printed.err
    assert "nothing was measured" in printed.out


def test_an_interruption_keeps_the_finished_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Iterator[dict[str, Any]]:
        yield row()
        raise KeyboardInterrupt

    monkeypatch.setattr(suites, "rows", interrupted)
    monkeypatch.setattr(ceilings, "measured", lambda threads: Ceilings(1.0, {"memory": 1.0}, {"memory": 2.0}))
    file = tmp_path / "rows.json"
    assert main([*ONE, "--json", str(file)]) == 130
    assert len(json.loads(file.read_text())["rows"]) == 1


def test_only_what_exceeds_the_noise_is_slower(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before, after = tmp_path / "a.json", tmp_path / "b.json"

    def compared(**changes: Any) -> int:
        before.write_text(json.dumps({"rows": [row()]}))
        after.write_text(json.dumps({"rows": [row(**changes)]}))
        return main(["bench", "--compare", str(before), str(after)])

    assert compared(seconds={"fastconv": 1.2}) == 1
    assert "SLOWER: 1.20 times as long (noise 4%)  forward · 1 thread · c · fastconv" in capsys.readouterr().out
    assert compared(seconds={"fastconv": 1.2}, spread={"fastconv": 0.2}) == 0, "it is within the noise"
    assert compared(seconds={"fastconv": 1.2}, least={"fastconv": 1.01}) == 0, "it can still be as fast"
    assert compared(seconds={"fastconv": 1.2}, peak=83.0) == 0, "the machine was slower too"
    assert compared(seconds={"fastconv": 0.8}) == 0
    assert "1 kernel(s) compared, 1 times: 0 slower, 1 faster" in capsys.readouterr().out
    assert compared(seconds={"fastconv": 2.0}, disturbed="by others") == 2
    assert "was disturbed: measure again" in capsys.readouterr().err
    assert fails(capsys, "bench", "--compare", before, before.with_name("c.json")).startswith("--compare: ")
    after.write_text('{"rows": [{}]}')
    assert "is not what fastconv bench --json writes" in fails(capsys, "bench", "--compare", before, after)
    assert compared(case="d") == 2


def test_a_kernel_is_slower_if_it_is_on_most_problems() -> None:
    def sessions(*ratios: float) -> list[list[dict[str, Any]]]:
        each = [row(case=str(number), kernels={"fastconv": "k"}) for number in range(len(ratios))]
        return [each, [made | {"seconds": {"fastconv": ratio}} for made, ratio in zip(each, ratios, strict=True)]]

    def slower(*ratios: float) -> list[str]:
        return [change.name for change in comparison.compared(*sessions(*ratios)) if change.slower]

    assert slower(1.2, 1.2, 1.0) == ["forward · 1 thread · k"]
    assert slower(1.3, 1.02, 1.0) == slower(1.3, 1.0) == [], "where its arrays lie"
    assert slower(1.6, 1.0, 1.0) == ["forward · 1 thread · 0 · fastconv"], "nothing else makes so much"


def test_a_slowed_kernel_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only the call and the waiting advance."""
    now = [0.0]

    def clock() -> float:
        now[0] += 0.125
        return now[0]

    monkeypatch.setattr(regressions, "perf_counter", clock)
    monkeypatch.setattr(regressions, "SLOWED", 2.0)

    def work() -> str:
        now[0] += 10.0
        return "done"

    assert regressions.slowed(work)() == "done"
    assert now[0] == pytest.approx(20.0, abs=1.0)


def test_the_roof_is_what_the_machine_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "_cache", {2: (100_000, 1), 3: (1_000_000, 8)}.__getitem__)
    sizes.places.cache_clear()
    rates = {"L2": 200.0, "L3": 100.0, "memory": 40.0}
    found = partial(roofline.least_seconds, rates=rates)
    assert found(row(bytes=1e4)) == pytest.approx(1e9 / 100e9), "it multiplies"
    assert found(row(flops=1.0, bytes=1e5)) == pytest.approx(1e5 / 200e9), "in L2"
    assert found(row(flops=1.0, bytes=3e5)) == pytest.approx(1e5 / 200e9 + 2e5 / 100e9), "some of it in L3"
    assert found(row(flops=1.0, bytes=2e5, threads=2)) == pytest.approx(2e5 / 200e9), "half for each"
    assert found(row(flops=1.0, bytes=1.1e9)) == pytest.approx(1.1e9 / 40e9, rel=1e-3), "nearly all in memory"
    assert found(row(flops=1.0, bytes=1e6, footprint=1e5)) == pytest.approx(1e6 / 200e9), "the same arrays again"
    assert found(row(flops=1.0, bytes=1e5), rates={"memory": 40.0}) == pytest.approx(1e5 / 40e9)
    assert roofline.least_seconds({"threads": 1, "seconds": {}}, rates) is None
    sizes.places.cache_clear()


def test_what_is_copied_is_found_in_its_cache_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for caches in ({2: (1 << 20, 1), 3: (32 << 20, 8)}, {2: (2 << 20, 2), 3: (96 << 20, 24)}):
        monkeypatch.setattr(sizes, "_cache", caches.__getitem__)
        for threads in (1, 2, 24):
            sizes.places.cache_clear()
            inner = 0
            for place in sizes.places(threads):
                assert 2 * place.copied * threads > inner
                assert place.capacity is None or 2 * place.copied * threads <= place.capacity
                inner = place.capacity or 0
    sizes.places.cache_clear()
    monkeypatch.setattr(sizes, "_cache", lambda level: (1 << 20, 4))
    assert [place.name for place in sizes.places(4)] == ["L2", "memory"], "a third level that is no larger"
    sizes.places.cache_clear()


def test_the_caches_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index, said in enumerate((("2", "Unified", "512K", "0"), ("3", "Unified", "16384K", "0-3,8-11"), ("x", "", "", ""))):
        (folder := tmp_path / f"index{index}").mkdir()
        for name, text in zip(("level", "type", "size", "shared_cpu_list"), said, strict=True):
            (folder / name).write_text(f"{text}\n")
    monkeypatch.setattr(sizes, "CACHES", tmp_path)
    read = sizes._cache.__wrapped__
    assert (read(2), read(3)) == ((512 << 10, 1), (16 << 20, 8))
    monkeypatch.setattr(sizes, "CACHES", tmp_path / "none")
    assert read(3) == sizes.UNKNOWN[3]


def test_ceilings_are_measured_until_they_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = iter([1.0, 0.4, 0.99])

    class Machine:
        def __init__(self, contestants: Any, threads: int) -> None:
            self.rates = {
                each.name: rate for each, rate in zip(contestants, (500.0, 20.0, 100.0, 40.0, 80.0, 60.0, 50.0), strict=True)
            }

        def __enter__(self) -> Machine:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def measure(self, *_: object) -> Any:
            speed = next(speeds)
            answers = {name: Answer(flops=int(1e9)) for name in self.rates}
            return answers, {name: [1 / rate / speed, 1.2 / rate / speed] for name, rate in self.rates.items()}

    monkeypatch.setattr(ceilings, "Field", Machine)
    found = ceilings.measured(1)
    assert found == Ceilings(500.0, {"L2": 100.0, "L3": 100.0, "memory": 40.0}, {"L2": 100.0, "L3": 100.0, "memory": 50.0})
    assert str(found).startswith("multiply-adds 500 GFLOP/s; GB/s copied (changed in place): L2 100 (100), L3 100 (100), mem")
    more = 1e12  # than any cache has
    copied, updated = (found.least_seconds(row(flops=0, bytes=more, in_place=place)) for place in (False, True))
    assert copied == pytest.approx(more / 40e9, rel=0.1)
    assert updated == pytest.approx(more / 50e9, rel=0.1)
    speeds = iter([1.0, 0.5, 0.3, 0.2, 0.1])
    assert "may be too low" in str(ceilings.measured(1))


def test_a_training_step_has_work() -> None:
    step = cases.training("lenet5 n2 1x28x28 10 1")
    forward = 2 * (28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10) * 2
    assert step.flops >= 2.5 * forward
    assert step.bytes > 0


def test_places_that_are_not_there_are_left_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    monkeypatch.setattr(session, "parts", lambda request: asked.append(request) or [])
    monkeypatch.setattr(ceilings, "measured", lambda threads: Ceilings(1.0, {"memory": 1.0}, {"memory": 2.0}))
    monkeypatch.setattr(cli_bench, "cuda_status", lambda: CudaStatus(False, 0, "there is no driver"))
    monkeypatch.setattr(session, "find_spec", lambda name: None)
    assert main([*ONE, "--targets", "cpu,cuda", "--against", "cupy"]) == 0
    said = capsys.readouterr().err
    assert "cuda is left out: there is no driver" in said
    assert "cupy is not installed and left out" in said
    assert asked[0].targets == ("cpu",)


def test_the_guard_tells_a_busy_machine_and_a_slowed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [0.0]
    monkeypatch.setattr(guard, "others", lambda: used[0])
    watching = guard.Guard()
    assert watching.disturbance(row()) == ""
    assert watching.disturbance(row(peak=70.0)) == "the machine multiplies at 70% of its best speed in this session"
    assert watching.disturbance(row(peak=70.0, threads=2)) == ""
    assert watching.disturbance(row(spread={"fastconv": 0.4, "torch": 0.9})) == "samples of ours differ by 40%"
    assert watching.disturbance(row(roof=1.3)) == "at 130% of the roof, which must have been measured too low"
    assert watching.disturbance(row(roof=1.3, kernels={"fastconv": "conv_forward__winograd_cpu"})) == ""
    used[0] += 1e6
    assert watching.disturbance(row(threads=1)).startswith("other processes kept")
    monkeypatch.setattr("os.getloadavg", lambda: (3.0, 1.0, 1.0), raising=False)
    assert guard.busy().startswith("about 3.0 other processes")
    assert list(comparison.compared([row()], [])) == []


def test_all_streams_are_in_the_file_that_says_which_there_are() -> None:
    found = cases.cases("stream", "", ["memory"])
    assert [(case.problem.operator, case.problem.direction) for case in found] == list(our_streams.STREAMS)
