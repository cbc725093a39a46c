"""``fastconv explain``: that it says what runs, and reads the code that does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from command_line import fails
from fastconv import dispatch, instructions, tuning, zoo
from fastconv.bench import cases
from fastconv.cli import main
from fastconv.functional import anatomy
from fastconv.nn import planning
from targets import SIMULATED

if SIMULATED:
    pytest.skip("the CPU's kernels are what runs", allow_module_level=True)

SHAPE = "n1 c16 8x8 k32 3x3 p1 nhwc"

# ------------------------------------------------------------------------------------------------------------ what runs


def test_it_agrees_with_what_ran_on_the_layers_of_resnet50(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    take = dispatch.Lender.take
    monkeypatch.setattr(dispatch.Lender, "take", lambda lender: [ran.append(lender.kernel.name), take(lender)][1])
    layers = cases.cases("conv", "forward", ["resnet50"], batch=1)
    assert len(layers) > 20
    with dispatch.use(threads=1):
        for case in layers:
            problem = case.problem
            x, weight = np.zeros(problem.x_shape, "f4"), np.zeros(problem.weight_shape, "f4")
            ran.clear()
            fc.conv2d(x, weight, None, problem.stride, problem.padding, layout="NHWC")
            assert ran == [fc.explain(problem).chosen], case.text


class Taken(Exception):
    """A plan was taken: what it computes is not waited for."""


@pytest.mark.parametrize("direction", ["backward_input", "backward_weight"])
def test_it_agrees_with_what_would_run_backward(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def take(lender: dispatch.Lender) -> None:
        raise Taken(lender.kernel.name)

    monkeypatch.setattr(dispatch.Lender, "take", take)
    for case in cases.cases("conv", direction, ["resnet50"], batch=1):
        call, _ = tuning.CALLS["conv"](direction, case.problem)
        with pytest.raises(Taken) as taken:
            call("auto")
        assert str(taken.value) == fc.explain(case.problem, direction=direction).chosen, case.text


@pytest.mark.parametrize("training", [False, True])
def test_it_agrees_with_what_a_network_plans(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = zoo.build("mnist-cnn").network
    explained = [
        fc.explain(problem, operator=operator, direction=direction, converting=False).chosen
        for _, operator, direction, problem in network.problems(4, training)
    ]
    made: list[str] = []
    monkeypatch.setattr(
        dispatch, "planned", lambda kernel, *others: [made.append(kernel.name), kernel.plan(*others[:1], 1)][1]
    )
    network.plan(4, training)
    assert made == explained
    assert "conv_pool_forward__winograd_cpu" in made
    assert isinstance(network.problems(4)[0], planning.Noted)


def test_a_model_is_explained_layer_by_layer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    zoo.build("lenet5").save(file)
    assert main(["explain", str(file), "--batch", "3"]) == 0
    told = capsys.readouterr().out
    assert "conv2d_2:\nconv_pool forward: ConvPool(conv=Conv(N=3, C=6" in told
    assert told.count("chosen ") == 5
    assert main(["explain", "softmax", "--direction", "backward_weight"]) == 0
    assert "there is no such weights file" in fails(capsys, "explain", "no.safetensors")


def test_a_pooling_and_a_matrix_product_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "max", "n1", "c8", "6x6", "2x2", "s2", "nhwc", "--asm", "--source"]) == 0
    told = capsys.readouterr().out
    assert told.count("chosen pool_") == told.count("layout='NHWC'") == 2
    assert told.count("main loop of ") == 2
    assert main(["explain", "average n1 c8 6x6 2x2 s2", "--direction", "backward_input", "--asm"]) == 0
    assert main(["explain", "9x8x7", "--asm"]) == 0
    assert "chosen matmul_forward__" in capsys.readouterr().out
    assert fails(capsys, "explain", "9x8x7", "--direction", "backward_input").startswith(
        "--direction: expected one of forward"
    )


@pytest.mark.parametrize("training", [False, True])
def test_the_code_of_a_model_is_shown(training: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "softmax", "--batch", "3", "--source", "--ptx", *["--training"] * training]) == 0
    told = capsys.readouterr().out
    assert "  # fastconv_kernels/matmul/" in told
    assert ("  # fastconv_kernels/optimizer/" in told) == training


# ----------------------------------------------------------------------------------------------------- the code that runs


def test_the_code_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anatomy, "missing_packages", lambda: "nothing is installed")
    options = ["--source", "--asm", "--ptx", "--roofline"]
    assert main(["explain", SHAPE, "--direction", "forward", "--threads", "1", *options]) == 0
    told = capsys.readouterr().out
    assert re.search(r"roofline: no less than [\d.]+ µs on 1 thread\(s\), bound by its (multiplications|bytes) \(", told)
    assert re.search(r"chosen \w+, 1 thread\(s\), Tile\(", told)
    assert "  # fastconv_kernels/conv/" in told
    assert "def convolve(" in told
    assert "main loop of " in told
    assert "its PTX is left out: nothing is installed" in told
    assert main(["explain", SHAPE, "--direction", "forward", "--target", "numpy", "--source", "--asm"]) == 0
    assert capsys.readouterr().out.count("nothing is compiled for the CPU") == 2


def test_the_main_loop_multiplies() -> None:
    problem = cases.convolution("n1 c32 8x8 k32 1x1")
    call, _ = tuning.CALLS["conv"]("forward", problem)
    with dispatch.use(threads=1):
        dispatch.forget_choices()
        parts = anatomy.parts(lambda: call("implicit_gemm"))
    assert [part.name for part in parts] == ["convolve"] or parts[-1].name == "convolve"
    loop = instructions.main_loop(parts[-1].assembly)
    assert loop is not None
    assert loop.share > 0.3, loop
    assert loop.mix["shuffle"] == loop.mix["store"] == 0, loop


X86 = """
convolve:
.LBB0_1:
	movq	%rax, %rcx
.LBB0_2:
	vmovups	(%rdi,%rax,4), %zmm0
	vbroadcastss	64(%rsi), %zmm1
	vfmadd231ps	%zmm0, %zmm1, %zmm2 # a comment, (%rax)
	vfmadd231ps	(%rdx){1to16}, %zmm0, %zmm3
	vaddps	%zmm2, %zmm3, %zmm3
	vpermilps	$1, %zmm0, %zmm0
	prefetcht0	512(%rdi)
	vmovups	%zmm3, (%r8) {%k1}
	addq	$64, %rax
	jne	.LBB0_2
	decq	%rcx
	jne	.LBB0_1
	retq
other:
.LBB1_1:
	vmulps	%xmm0, %xmm1, %xmm0
	jne	.LBB1_1
"""
ARM = """
convolve:
.LBB0_2:
	ldp	q0, q1, [x8], #32
	fmla	v2.4s, v0.4s, v1.s[0]
	fadd	v3.4s, v3.4s, v2.4s
	zip1	v0.4s, v0.4s, v1.4s
	str	q3, [x9]
	subs	x10, x10, #1
	b.ne	.LBB0_2
"""
PTX = """
.version 8.0
.target sm_80
$L__BB0_5:
	// begin inline asm
	cp.async.cg.shared.global [%r1], [%rd1], 16; cp.async.commit_group;
	// end inline asm
	ld.shared.f32 	%f1, [%r2];
	fma.rn.f32 	%f2, %f1, %f1, %f2;
	mul.f32 	%f2, %f2, %f1;
	{ mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f3}, {%f4}; }
	shfl.sync.bfly.b32 	%r3, %r4, 1, 31, -1;
	bar.sync 	0;
	st.global.f32 	[%rd2], %f2;
	@%p1 bra 	$L__BB0_5;
"""
MIXES: dict[str, tuple[str, dict[str, int], int]] = {
    "x86": (
        X86,
        {
            **{"multiply-add": 2, "load": 2, "store": 1, "other arithmetic": 1, "shuffle": 1},
            **{"prefetch": 1, "branch": 1, "other": 1},
        },
        1,
    ),
    "arm": (
        ARM,
        {"multiply-add": 1, "load": 1, "store": 1, "other arithmetic": 1, "shuffle": 1, "branch": 1, "other": 1},
        0,
    ),
    "ptx": (
        PTX,
        {
            **{"multiply-add": 2, "copy": 2, "load": 1, "store": 1, "other arithmetic": 1, "shuffle": 1},
            **{"barrier": 1, "branch": 1},
        },
        0,
    ),
}


@pytest.mark.parametrize("name", MIXES)
def test_instructions_are_told_apart(name: str) -> None:
    text, mix, folded = MIXES[name]
    loop = instructions.main_loop(text)
    assert loop is not None
    assert dict(loop.mix) == mix
    assert loop.folded == folded
    assert str(loop).startswith(f"{sum(mix.values())} instructions, {mix['multiply-add'] / sum(mix.values()):.0%} of them")


def test_code_without_a_loop() -> None:
    assert instructions.main_loop("f:\n\tjmp .L1\n.L1:\n\tret\n") is None
    assert list[Any](anatomy.parts(lambda: None)) == []
