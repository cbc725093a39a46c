"""What a network on a CUDA device needs of the kernels there beside the operators' plans; imported where there is one."""

from fastconv_kernels.cuda.batches import advance, gather
from fastconv_kernels.cuda.device_array import LARGEST
from fastconv_kernels.cuda.graph import Repeated
from fastconv_kernels.cuda.tally import count
from fastconv_kernels.cuda.transfers import fill

__all__ = ["LARGEST", "Repeated", "advance", "count", "fill", "gather"]
