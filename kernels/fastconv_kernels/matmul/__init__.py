"""The matrix product: the ranked table of its one direction, best first, the reference last.

``plan(a, b, out, bias=None, residual=None, activation=None)`` writes activation(a @ b + bias + residual) into ``out`` (M, N).
``a`` (M, K) and ``b`` (K, N) have a stride of one element along one of their axes; bias (N,), residual (M, N) and ``out`` are
C-contiguous; activation is None or "relu".  A stack of products has leading axes, which are broadcast as NumPy does; ``a`` and
``b`` are then without gaps, though the last two axes may be swapped.  The gradients of a product are products, so that there
is no other direction.
"""

from __future__ import annotations

from ..registry import Kernel, deferred, single_precision
from . import blocked_cpu, reference, unpacked_cpu, vector_cpu

PRECISIONS = {"tf32": 2.6 * 2**-11, "bf16": 2.01 * 2**-8, "fp16": 2.01 * 2**-11}
"""What tensor cores round operands to, and the error of a product by it, as ``tensor_core_cuda.py`` derives it."""

ON_CUDA = [
    *(
        Kernel(
            "matmul",
            "forward",
            f"warpgroup_{precision}",
            "cuda",
            deferred("matmul.warpgroup_cuda", precision.capitalize()),
            refuses=deferred("matmul.warpgroup_cuda", "refuses"),
            declines=deferred("matmul.warpgroup_cuda", "declines"),
            accuracy=2.0,
            precision=precision,
            product_error=error,
            summary=f"Hopper: boxes of {precision.upper()} that arrive by themselves, multiplied by warpgroups.",
            source="Bikshandi & Shah, A Case Study in CUDA Kernel Fusion, 2023",
        )
        for precision, error in PRECISIONS.items()
    ),
    *(
        Kernel(
            "matmul",
            "forward",
            f"tensor_core_{precision}",
            "cuda",
            deferred("matmul.tensor_core_cuda", precision.capitalize()),
            refuses=single_precision,
            accuracy=2.0,
            precision=precision,
            product_error=error,
            summary=f"Products of {precision.upper()} on the tensor cores, copies from memory ahead of the arithmetic.",
            source="Markidis et al., NVIDIA Tensor Core Programmability, Performance & Precision, 2018",
        )
        for precision, error in PRECISIONS.items()
    ),
    Kernel(
        "matmul",
        "forward",
        "tensor_core_split",
        "cuda",
        deferred("matmul.tensor_core_cuda", "Split"),
        refuses=single_precision,
        accuracy=2.0,
        product_error=3.5 * 2**-21,
        summary="Every float32 as the sum of two TF32, three products on the tensor cores for one: float32's accuracy.",
        source="Ootomo & Yokota, Recovering single precision accuracy from Tensor Cores, 2022",
    ),
    Kernel(
        "matmul",
        "forward",
        "simt",
        "cuda",
        deferred("matmul.simt_cuda", "Matmul"),
        refuses=single_precision,
        summary="Plain float32 arithmetic: 8x8 sums in the registers of each thread, copies from memory ahead of it.",
        source="Volkov & Demmel, Benchmarking GPUs to Tune Dense Linear Algebra, 2008",
    ),
]

FORWARD = [
    Kernel(
        "matmul",
        "forward",
        "vector",
        "cpu",
        vector_cpu.VectorMatmul,
        refuses=vector_cpu.refuses,
        declines=vector_cpu.declines,
        summary="For a vector or a few rows: several rows or columns of the matrix side by side, each element read once.",
        source="Goto & van de Geijn, High-Performance Implementation of the Level-3 BLAS, 2008",
    ),
    Kernel(
        "matmul",
        "forward",
        "unpacked",
        "cpu",
        unpacked_cpu.UnpackedMatmul,
        declines=unpacked_cpu.declines,
        summary="For small products: A's elements broadcast, B's rows loaded in place; few columns beside steps of K.",
        source="Heinecke et al., LIBXSMM: Accelerating Small Matrix Multiplications by Runtime Code Generation, 2016; "
        "Frison et al., BLASFEO: Basic Linear Algebra Subroutines for Embedded Optimization, 2018",
    ),
    Kernel(
        "matmul",
        "forward",
        "blocked",
        "cpu",
        blocked_cpu.BlockedMatmul,
        summary="B in panels for the caches, rows of A read in place, a tile of C in registers, the epilogue in its store.",
        source="Goto & van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008; "
        "Van Zee & van de Geijn, BLIS: A Framework for Rapidly Instantiating BLAS Functionality, 2015",
    ),
    *ON_CUDA,
    Kernel("matmul", "forward", "reference", "numpy", reference.Forward, summary="NumPy's own product."),
]
