"""Every pipeline becomes good machine code for sm_80 and sm_90a, on a machine with neither GPU nor driver.

Needs the extra "cuda13"; without it, and in the simulator, there is nothing to test.  The ceilings are what was seen and a few
more: a rise means that something has left the registers, or that a loop is not written out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import fastconv as fc
import sass
from targets import SIMULATED

if SIMULATED:
    pytest.skip("needs the compiler, not the simulator", allow_module_level=True)
pytest.importorskip("numba_cuda", reason='the extra "cuda13" is not installed')
pytest.importorskip("cuda.core", reason='the extra "cuda13" is not installed')

from fastconv.cli import main
from fastconv.functional import rehearsal
from fastconv_kernels.conv import direct_cuda, implicit_gemm_cuda, implicit_gemm_input_cuda, implicit_gemm_weight_cuda
from fastconv_kernels.cuda import arithmetic, batches, build, ceilings, channel_sums, k_major, stream, strided, tally
from fastconv_kernels.cuda.panel import ACROSS, ALONG
from fastconv_kernels.dropout import philox_cuda
from fastconv_kernels.elementwise import maxout_cuda
from fastconv_kernels.elementwise import stream_cuda as activations
from fastconv_kernels.layout import tiles_cuda
from fastconv_kernels.loss import row, rows_cuda
from fastconv_kernels.matmul import simt_cuda, tensor_core_cuda, warpgroup_cuda
from fastconv_kernels.norm import passes_cuda
from fastconv_kernels.optimizer import stream_cuda as optimizers
from fastconv_kernels.pool import windows_cuda

ARCHITECTURES = "sm_80", "sm_90a"
ROWS, COLUMNS = (ALONG, 4), (ACROSS, 4)
"""A and B as C-contiguous matrices, everything aligned."""
MATMUL = {
    "simt": simt_cuda.Matmul,
    "tf32": tensor_core_cuda.Tf32,
    "bf16": tensor_core_cuda.Bf16,
    "split": tensor_core_cuda.Split,
}
# name: (kernel, registers, the multiplying instruction, how many of it in the loop, its least share of the loop)
KERNELS = {
    "matmul simt": (lambda: matmul("simt", ROWS, COLUMNS), 128, "FFMA", 1024, 0.75),
    "matmul simt, turned": (lambda: matmul("simt", COLUMNS, COLUMNS), 128, "FFMA", 1024, 0.8),
    "matmul tf32": (lambda: matmul("tf32", ROWS, COLUMNS), 255, "HMMA", 128, 0.2),
    "matmul tf32, transposed": (lambda: matmul("tf32", COLUMNS, ROWS), 255, "HMMA", 128, 0.2),
    "matmul tf32, ragged": (lambda: matmul("tf32", (ALONG, 1), (ACROSS, 1)), 255, "HMMA", 128, 0.05),
    "matmul bf16": (lambda: matmul("bf16", ROWS, COLUMNS), 255, "HMMA", 64, 0.13),
    "conv warpgroups, Hopper": (lambda: conv("WarpgroupTf32", (4, 4), turned=True), 128, "HGMMA", 4, 0.01),
    "conv warpgroups, Hopper, backward_input": (lambda: conv("WarpgroupTf32", (4, 4), transposed=True), 128, "HGMMA", 4, 0.01),
    "matmul split": (lambda: matmul("split", ROWS, COLUMNS), 255, "HMMA", 192, 0.2),
    "conv simt": (lambda: conv("Simt", (4, 4)), 128, "FFMA", 1024, 0.7),
    "conv tf32": (lambda: conv("Tf32", (4, 4)), 255, "HMMA", 128, 0.15),
    "conv tf32, few channels": (lambda: conv("Tf32", (1, 4)), 255, "HMMA", 128, 0.05),
    "conv simt, backward_input": (lambda: conv("Simt", (4, 4), transposed=True), 255, "FFMA", 1024, 0.4),
    "conv tf32, backward_input": (lambda: conv("Tf32", (4, 4), transposed=True), 255, "HMMA", 128, 0.15),
    "conv split, backward_input": (lambda: conv("Split", (4, 4), transposed=True), 255, "HMMA", 192, 0.2),
    "conv simt, backward_weight": (lambda: conv_weight("Simt"), 128, "FFMA", 1024, 0.75),
    "conv tf32, backward_weight": (lambda: conv_weight("Tf32"), 255, "HMMA", 128, 0.12),
    "conv split": (lambda: conv("Split", (4, 4)), 255, "HMMA", 192, 0.2),
}


WINDOWS, DILATED = windows_cuda.Kind(4, 0, 0, 1, 1), windows_cuda.Kind(1, 0, 1, 1, 0)
# Kernels that memory alone limits: how many 16 bytes they load and store at least, wherever their loops are.
STREAMS = {
    "relu": (lambda: stream.streaming(activations.forward("relu"), 1, 1, 4, activations.Rates), 1, 1),
    "gelu, backwards": (
        lambda: stream.streaming(activations.backward("gelu"), 3, 1, 4, activations.Rates),
        2,
        1,
    ),  # y is not needed
    "maxout": (lambda: maxout_cuda.forward(), 0, 0),
    "maxout, backwards": (lambda: maxout_cuda.backward(), 0, 0),
    "adam": (lambda: stream.streaming(optimizers.adam_element, 4, 3, 4, optimizers.AdamRates), 4, 3),
    "adam, rates from memory": (
        lambda: stream.scheduled(optimizers.adam_element, 4, 3, 4, optimizers.adam_at, 9),
        4,
        3,
    ),
    "dropout": (lambda: philox_cuda.dropping(4), 1, 1),
    "max pooling": (lambda: windows_cuda.maximum(WINDOWS, "int64"), 1, 1),
    "max pooling, backwards": (lambda: windows_cuda.maximum_backward(WINDOWS, "int64"), 1, 1),
    "average pooling, dilated": (lambda: windows_cuda.average(DILATED), 0, 0),
    "average pooling, backwards, dilated": (lambda: windows_cuda.average_backward(DILATED), 0, 0),
    "depthwise convolution": (lambda: direct_cuda.forward(4), 2, 1),
    "depthwise convolution, backward_input": (lambda: direct_cuda.backward_input(4), 2, 1),
    "depthwise convolution, backward_weight": (lambda: direct_cuda.backward_weight(), 0, 0),
    "softmax": (lambda: rows_cuda.forward(row.softmax), 0, 0),
    "cross-entropy": (lambda: rows_cuda.cross_entropy("int64"), 0, 0),
    "channel sum": (lambda: channel_sums.channel_sums(channel_sums.itself, 1, 1), 0, 0),
    "batch norm, gradient's sums": (lambda: channel_sums.channel_sums(passes_cuda.rectified_gradient_terms, 3, 2), 0, 0),
    "batch norm": (lambda: passes_cuda.normalise(passes_cuda.Parts(4, 0, 1, 1, 1, 1)), 2, 1),
    "batch norm, backwards, in planes": (lambda: passes_cuda.differentiate(passes_cuda.Parts(4, 1, 1, 0, 1, 1)), 3, 2),
    "rounding to BF16 along K": (lambda: k_major.pack("bf16", "across"), 0, 0),
    "copy of any strides": (lambda: strided.copying(4), 0, 0),
    "sum of two arrays": (lambda: stream.streaming(arithmetic.add, 2, 1, 4, arithmetic.Number), 2, 1),
    "batch of bytes": (lambda: batches.gathering("uint8"), 0, 0),
    "count of steps": (lambda: batches.advancing(), 0, 0),
    "losses and right answers": (lambda: tally.counting(), 0, 0),
    "change of layout": (lambda: tiles_cuda.transpose(), 0, 0),
}


def matmul(engine: str, a: tuple[str, int], b: tuple[str, int]) -> Any:
    """The kernel of the largest tile."""
    from fastconv_kernels.cuda.matmul import variant

    about = MATMUL[engine].keywords
    return variant(about["engine"], about["tiles"][0], a, b, 4 if a[1] == b[1] == 4 else 1)


def conv(arithmetic: str, widths: tuple[int, int], transposed: bool = False, turned: bool = False) -> Any:
    """The kernel of the largest tile."""
    module = implicit_gemm_input_cuda if transposed else implicit_gemm_cuda
    about, turn = getattr(module, arithmetic).keywords, {"turned": True} if turned else {}
    return module.variant(about["engine"], about["tiles"][0], widths, 4, **turn)


def conv_weight(arithmetic: str) -> Any:
    """The kernel of the largest tile."""
    about = getattr(implicit_gemm_weight_cuda, arithmetic).keywords
    return implicit_gemm_weight_cuda.variant(about["engine"], about["tiles"][0], (4, 4), 4)


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: Any) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTCONV_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        build.cubin_folder.cache_clear()
        yield
    build.cubin_folder.cache_clear()


# What differs from another kernel in its copies alone is compiled for one architecture.
CASES = [(name, arch) for name in KERNELS for arch in (ARCHITECTURES[1:] if "," in name else ARCHITECTURES)]


@pytest.mark.parametrize(("name", "arch"), CASES)
def test_machine_code(name: str, arch: str, tmp_path: Path) -> None:
    kernel, ceiling, opcode, count, share = KERNELS[name]
    cubin = build.build(kernel(), arch)
    assert cubin.registers <= ceiling
    assert cubin.spilled_bytes == 0, "registers were spilled"
    assert cubin.stack_bytes == 0, "an array has left the registers"
    if sass.disassembler() is None:
        pytest.skip("nvidia-cuda-nvdisasm is not installed: registers were checked, instructions were not")
    loop = sass.main_loop(cubin.code, tmp_path, opcode)
    assert loop[opcode] == count, "the loop along K multiplies otherwise"
    assert loop["LDGSTS"], "nothing is copied past the registers"
    assert loop["BAR"] == 1, "there is one barrier in the loop"
    assert not {"LDL", "STL", "CALL"} & set(loop), "memory of the thread's own, or a call"
    assert loop[opcode] >= share * loop.total(), f"{loop[opcode]} of {loop.total()}: {loop.most_common(8)}"


@pytest.mark.parametrize("name", STREAMS)
def test_machine_code_of_streams(name: str, tmp_path: Path) -> None:
    kernel, loads, stores = STREAMS[name]
    cubin = build.build(kernel(), "sm_90a")
    assert cubin.spilled_bytes == 0, "registers were spilled"
    assert cubin.stack_bytes == 0, "an array has left the registers"
    if sass.disassembler() is None:
        pytest.skip("nvidia-cuda-nvdisasm is not installed: registers were checked, instructions were not")
    wide = [opcode for opcode, operands in sass.instructions(cubin.code, tmp_path)[0] if ".128" in operands]
    assert wide.count("LDG") >= loads
    assert wide.count("STG") >= stores


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_machine_code_of_hopper(precision: str, tmp_path: Path) -> None:
    kernel = warpgroup_cuda.persistent(precision, 4)
    cubin = build.build(kernel, "sm_90a")
    assert cubin.registers <= 65536 // kernel.threads
    assert (cubin.spilled_bytes, cubin.stack_bytes) == (0, 0)
    log = (build.cubin_folder() / f"{build.key(kernel, 'sm_90a')}.log").read_text()
    assert "serialized" not in log, "the compiler waits for every product: their sums are touched while they are under way"
    if sass.disassembler() is None:
        pytest.skip("nvidia-cuda-nvdisasm is not installed: registers were checked, instructions were not")
    code = Counter(opcode for opcode, _ in sass.instructions(cubin.code, tmp_path)[0])
    assert code["HGMMA"] >= 4, "products of warpgroups"
    assert code["UTMALDG"] >= 2, "copies of boxes"
    assert code["SYNCS"] >= 4, "barriers that count bytes"
    assert code["USETMAXREG"] == 2, "registers that change hands"
    assert not {"LDL", "STL"} & set(code), "memory of the thread's own"


@pytest.mark.parametrize(
    ("kernel", "opcode", "share"),
    [
        (ceilings.multiply_adds(), "FFMA", 0.9),
        (ceilings.products("tf32"), "HMMA", 0.5),
        (ceilings.group_products("bf16"), "HGMMA", 0.1),
    ],
    ids=["fp32", "tf32", "bf16 of Hopper"],
)
def test_machine_code_of_ceilings(kernel: Any, opcode: str, share: float, tmp_path: Path) -> None:
    cubin = build.build(kernel, "sm_90a")
    assert (cubin.spilled_bytes, cubin.stack_bytes) == (0, 0)
    if sass.disassembler() is None:
        pytest.skip("nvidia-cuda-nvdisasm is not installed: registers were checked, instructions were not")
    loop = sass.main_loop(cubin.code, tmp_path, opcode)
    assert loop[opcode] > share * loop.total()
    assert not {"LDL", "STL", "LDG", "LDS"} & set(loop), "something is loaded"


def test_fragments_along_k_are_loaded_as_matrices(tmp_path: Path) -> None:
    if sass.disassembler() is None:
        pytest.skip("nvidia-cuda-nvdisasm is not installed")
    loop = sass.main_loop(build.build(matmul("tf32", ROWS, COLUMNS), "sm_90a").code, tmp_path, "HMMA")
    assert loop["LDSM"] == 16


def test_a_second_build_is_read_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = matmul("tf32", ROWS, COLUMNS)
    first = build.build(kernel, "sm_80")
    monkeypatch.setattr(build, "compile_and_link", None)
    assert build.build(kernel, "sm_80") == first


def test_variants_have_names_of_their_own() -> None:
    made = [matmul(engine, a, b) for engine in MATMUL for a in (ROWS, COLUMNS) for b in (ROWS, COLUMNS)]
    assert len({build.key(kernel, "sm_80") for kernel in made}) == len(made)


def test_what_a_launch_passes() -> None:
    """Five pointers, and the numbers of geometry and epilogue as arguments of their own."""
    from numba import cuda

    kernel = matmul("simt", ROWS, COLUMNS)
    with build.stand_in_device((9, 0)):
        ptx, _ = cuda.compile(kernel.function, kernel.signature, device=False, abi="numba", cc=(9, 0, "a"), output="ptx")
    parameters = ptx[ptx.index(".entry") :].partition("{")[0]
    assert parameters.count(".param .u64") == 5
    assert parameters.count(".param .u32") == 7 + 3
    assert parameters.count(".param") == 15


def test_warmup_builds_what_calls_would_start(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []

    @contextmanager
    def noting(kernels: Any) -> Iterator[Any]:
        built.extend(kernels)
        yield iter(())

    monkeypatch.setattr(rehearsal, "building", noting)
    fc.warmup("lenet5", target="cuda", arch=["sm_80", "sm_90a"], precisions="tf32", progress=False)
    assert len(set(built)) == len(built)
    assert {arch for _, arch in built} == {"sm_80", "sm_90a"}
    named = {build.key(kernel, "") for kernel, _ in built}
    assert len(named) > 40
    for_hopper = {arch for kernel, arch in built if kernel.function.__qualname__.startswith("persistent")}
    assert for_hopper == {"sm_90a"}
    of_training = "gathering", "advancing", "counting", "scheduled", "cross_entropy", "channel_sums"
    for part in ("product", "streaming", "transpose", *of_training):
        assert any(name.startswith(part) for name in named), part


def test_kernels_are_built_by_several_processes() -> None:
    kernels = [(batches.advancing(), "sm_80"), (tally.counting(), "sm_80"), (batches.gathering("uint8"), "sm_90a")]
    with rehearsal.building(kernels) as done:
        assert sorted(done) == [0, 1, 2]
    for kernel, arch in kernels:
        assert (build.cubin_folder() / f"{build.key(kernel, arch)}.cubin").exists()


@pytest.mark.parametrize(("arch", "message"), [("sm_75", "sm_80 or later"), ("hopper", "names as sm_80"), (None, "no device")])
def test_warmup_for_no_architecture(arch: str | None, message: str) -> None:
    with pytest.raises(fc.ArgumentError, match=rf"^arch: .*{message}"):
        fc.warmup(target="cuda", arch=arch)


@pytest.mark.parametrize(("shape", "least"), [("n4 c32 8x8 k32 3x3 p1", 64), ("64x64x64", 64), ("max n1 c8 6x6 2x2", 0)])
def test_explain_reads_the_ptx(shape: str, least: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", shape, "--direction", "forward", "--ptx"]) == 0
    told = re.search(r"_cuda for sm_80: main loop of \d+ instructions[^:]*:(?: (\d+) multiply-add)?", capsys.readouterr().out)
    assert told
    assert int(told[1] or 0) >= least
