"""Matrix product on tensor cores: products of TF32, BF16 or FP16, sums of float32; or three of TF32 for float32's accuracy.

    block      128 x 128 of C with 4 warps, 8 for the split (64 x 64, 32 x 32 of small matrices), K in slices of 32
      stages   3 (4): slices are under way while one is multiplied
      copies   all threads, 16 or 4 bytes at a time, past the registers
      sums     64 x 64, or 64 x 32, for each warp, in its lanes' registers; products of 16 x 8 by mma.sync
      barrier  one for each slice: it has arrived, and the stage that is filled next has been read

The loop along K is ``cuda.pipeline``'s, what a block does with two slices ``cuda.tensor_core``'s.

    TF32        |got - C| <= (2 * 1.28 * 2**-11 + 2 gamma_K) |A| |B|         1 product
    BF16        |got - C| <= (2.01 * 2**-8 + 2 gamma_K) |A| |B|              1 product
    FP16        |got - C| <= (2.01 * 2**-11 + 2 gamma_K) |A| |B|             1 product, of numbers from 2**-14 to 65504
    split       |got - C| <= (3.4 * 2**-21 + 2 gamma_K) |A| |B|              3 products: A1 B1 + A1 B2 + A2 B1

(the tensor cores cut what they sum where float32 arithmetic rounds: hence 2 gamma_K).  Small integers are exact in all.

Sources: Markidis et al., "NVIDIA Tensor Core Programmability, Performance & Precision", 2018; Ootomo & Yokota, "Recovering
single precision accuracy from Tensor Cores while surpassing the FP32 theoretical peak performance", 2022.
"""

from functools import partial

from ..cuda import tensor_core
from ..cuda.matmul import MatrixProduct

Tf32, Bf16, Fp16 = (
    partial(MatrixProduct, engine=partial(tensor_core.engine, arithmetic=name), tiles=tensor_core.TILES)
    for name in ("tf32", "bf16", "fp16")
)
Split = partial(MatrixProduct, engine=partial(tensor_core.engine, arithmetic="split"), tiles=tensor_core.SPLIT_TILES)
