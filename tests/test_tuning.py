"""Measured winners: the table, what is chosen by it, and how it is filled."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import fastconv as fc
from fastconv import cli, dispatch, shapes, tuning, winners, zoo
from fastconv.dispatch import Conv, Settings
from fastconv.errors import ArgumentError

PROBLEM = Conv(4, 64, 16, 16, 64, 3, 3, padding=((1, 1), (1, 1)), layout="NHWC")
SHAPE = "n1 c16 12x12 k32 3x3 p1 nhwc"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    file = tmp_path / "deep" / "table.json"
    monkeypatch.setenv("FASTCONV_TUNING", str(file))
    dispatch.forget_choices()
    return file


def keep(file: Path, problem: Conv = PROBLEM, accuracy: str = "fast", **seconds: float) -> None:
    name = winners.key("conv", "forward", problem, dispatch.all_threads(), accuracy)
    winners.keep(file, {name: seconds})
    dispatch.forget_choices()


def chosen(problem: Conv = PROBLEM, **request: Any) -> str:
    return dispatch.lender("conv", "forward", problem, Settings(**request)).kernel.algorithm


def test_the_fastest_that_was_measured_is_chosen(table: Path) -> None:
    assert chosen() == "winograd"
    keep(table, implicit_gemm=1e-6, winograd=2e-6, reference=1e-9)
    assert chosen() == "implicit_gemm"
    shown = fc.explain(PROBLEM)
    assert shown.chosen == "conv_forward__implicit_gemm_cpu"
    assert "measured 1 µs" in str(shown)
    assert chosen(algorithm="winograd") == "winograd", "an argument comes first"
    assert chosen(threads=1) == "winograd", "measured with other threads"
    assert chosen(accuracy="exact") != "winograd"
    assert chosen(target="numpy") == "reference"


def test_what_cannot_be_had_is_passed_over(table: Path) -> None:
    keep(table, **{"gone_since": 1e-9, "winograd": 1e-6, "implicit_gemm": 2e-6})
    assert chosen() == "winograd"
    keep(table, accuracy="exact", winograd=1e-6, implicit_gemm=2e-6)
    assert chosen(accuracy="exact") == "implicit_gemm"
    lender = dispatch.lender("conv", "forward", PROBLEM, Settings(target="cpu"), max_workspace_bytes=100_000)
    assert lender.kernel.algorithm != "winograd"
    strided = Conv(1, 16, 12, 12, 32, 3, 3, stride=(2, 2), layout="NHWC")
    keep(table, strided, winograd=1e-9)
    assert chosen(strided) != "winograd"


@pytest.mark.parametrize("content", ["{", "[]", '{"conv": 1}', '{"conv": {"winograd": "fast"}}', "\x00"])
def test_a_damaged_table_is_told_of_and_kept(table: Path, content: str) -> None:
    table.parent.mkdir()
    table.write_text(content)
    with pytest.warns(UserWarning, match="cannot be read"):
        assert chosen() == "winograd"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dispatch.forget_choices()
        assert chosen() == "winograd", "told once"
    with pytest.raises(ArgumentError, match=r"^FASTCONV_TUNING: .* cannot hold the winners"):
        keep(table, winograd=1.0)
    assert table.read_text() == content


def test_nothing_is_read_or_written_when_it_is_off(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(table, implicit_gemm=1e-6)
    monkeypatch.setenv("FASTCONV_TUNING", "off")
    dispatch.forget_choices()
    assert chosen() == "winograd"
    with pytest.raises(ArgumentError, match=r"^FASTCONV_TUNING: .* got off"):
        next(tuning.tune([("conv", "forward", PROBLEM)]))


def test_tuning_measures_every_candidate_and_keeps_the_fastest(table: Path) -> None:
    directions = "forward", "backward_input", "backward_weight"
    found = list(tuning.tune([("conv", direction, PROBLEM) for direction in directions], threads=1, rounds=1))
    assert [result.direction for result in found] == list(directions)
    for result in found:
        able = dispatch.candidates("conv", result.direction, PROBLEM, Settings())
        assert set(result.seconds) == {kernel.algorithm for kernel in able}
        assert result.seconds[result.winner] == min(result.seconds.values()) > 0
        assert result.gain >= 1
        lender = dispatch.lender("conv", result.direction, PROBLEM, Settings(threads=1))
        assert lender.kernel.algorithm == result.winner
    assert set(json.loads(table.read_text())) == {result.key for result in found}
    keep(table, winograd=1.0)
    assert len(json.loads(table.read_text())) == 4, "the others stay"


def test_a_wrong_kernel_is_not_timed(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(direction: str, problem: Conv) -> tuple[Any, Any]:
        call, out = tuning._convolution(direction, problem)

        def changed(algorithm: str) -> None:
            call(algorithm)
            out[-1, -1, -1, -1] += 1.0 * (algorithm == "implicit_gemm")

        return changed, out

    monkeypatch.setitem(tuning.CALLS, "conv", broken)
    with pytest.raises(tuning.WrongResult, match=r"^conv_forward__implicit_gemm_cpu: .* WRONG"):
        list(tuning.tune([("conv", "forward", PROBLEM)], threads=1, rounds=1))
    assert not table.exists()


def test_products_are_tuned_too(table: Path) -> None:
    problem = dispatch.Matmul(16, 16, 16)
    able = dispatch.candidates("matmul", "forward", problem, Settings())
    found = list(tuning.tune([("matmul", "forward", problem)], rounds=1))
    assert len(found) == (len(able) > 1)
    for result in found:
        assert set(result.seconds) == {kernel.algorithm for kernel in able}
    with pytest.raises(ArgumentError, match=r"^problems: expected some of conv, matmul, conv_pool, got 'pool'"):
        list(tuning.tune([("pool", "forward", None)]))


# --- the command


def test_the_command(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "SAMPLE_SECONDS", 1e-4)
    file, report = tmp_path / "shapes.txt", tmp_path / "report.json"
    file.write_text("# a layer\nn2 c8 8x8 k8 3x3 p1 nhwc  # and a remark\n\n")
    assert cli.main(["tune", SHAPE, "--shapes", str(file), "--direction", "forward", "--json", str(report)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 problem(s); the winners go to " + str(table))
    assert f"conv forward {SHAPE}: " in said
    assert "2 measured" in said
    rows = json.loads(report.read_text())["rows"]
    assert " times as fast" in said
    assert {row["problem"] for row in rows} == set(json.loads(table.read_text()))
    assert all(len(row["seconds"]) >= 2 for row in rows)


def test_a_model_is_tuned(table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "SAMPLE_SECONDS", 1e-4)
    assert cli.main(["tune", "--model", "mlp", "--batch", "9", "--threads", "1"]) == 0
    kept, layers = json.loads(table.read_text()), zoo.build("mlp").network.problems(9)
    dense = {noted for noted in layers if noted.operator == "matmul"}
    assert f"{len({noted.problem for noted in dense})} problem(s)" in capsys.readouterr().out
    for noted in dense:
        seconds = kept[winners.key("matmul", "forward", noted.problem, 1, "fast")]
        assert (
            fc.explain(noted.problem, threads=1, converting=False).chosen
            == f"matmul_forward__{min(seconds, key=seconds.get)}_cpu"
        )


def test_a_convolution_with_its_pooling_is_tuned(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = dispatch.ConvPool(shapes.parse(SHAPE))
    few = [kernel for kernel in dispatch.kernels("conv_pool", "forward") if kernel.algorithm in ("implicit_gemm", "winograd")]
    monkeypatch.setattr(dispatch, "candidates", lambda *_: few)
    (found,) = tuning.tune([("conv_pool", "forward", problem)], threads=1, rounds=1)
    chosen = fc.explain(problem, operator="conv_pool", threads=1, converting=False).chosen
    assert chosen == f"conv_pool_forward__{found.winner}_cpu"
    assert not tuning.tunable("conv_pool", "backward_weight")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "lenet"], "--model: expected a file of weights, or one of softmax, mlp"),
        (["--model", "lenet5", SHAPE], "--model: expected no SHAPE"),
        ([], "SHAPE: expected at least one"),
        (["n1 c3"], "SHAPE: expected k, image HxW, kernel RxS"),
        (["--shapes", "no-such-file"], "--shapes: no-such-file cannot be read"),
        (["--shapes", "{bad}"], "bad.txt:2: expected words as in"),
        (["--threads", "1000", SHAPE], "threads: expected at most"),
        ([SHAPE, "--json", "/no/such/folder/x.json"], "--json: /no/such/folder/x.json cannot be written"),
    ],
)
def test_a_users_mistake_is_one_line(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("n1 c1 4x4 k1 3x3\nnonsense\n")
    assert cli.main(["tune", *(word.format(bad=bad) for word in words)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not table.exists()


@pytest.mark.parametrize(
    "text",
    [
        SHAPE,
        "n1 c1 5x7 k4 3x1",
        "n2 c8 9x9 k16 3x3 s2 p1x2 d1x2 g4 float64",
        "n1 c4 8x8 k4 2x2 s2x1 p1 d2",
        "n1 c3 8x8 k4 3x3 s2 psame",
    ],
)
def test_shapes_are_written_as_they_are_read(text: str) -> None:
    assert shapes.parse(shapes.written(shapes.parse(text))) == shapes.parse(text)
    assert shapes.written(shapes.parse(SHAPE)) == SHAPE
