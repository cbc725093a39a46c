"""1x1 convolution with few channels on one side, the head of a network or its first layer: the plain product of matrices.

With few outputs there is little arithmetic for each pixel that is read, and memory sets the pace.  Channels that fill no
vector leave lanes idle, or rows of a tile; the products of ``matmul`` for a vector, for few rows and for few columns leave
none, and read the large operand once, in its order, where it is:

                   NHWC                                 NCHW, image by image
    forward        out = x (pixels, C) @ weight (C, K)  out = weight (K, C) @ x (C, pixels)
    input          the same with the weight's transpose
    weight         x.T (C, pixels) @ gradient (pixels, K), or, with fewer outputs than inputs, its transpose

Source: Goto & van de Geijn, "High-Performance Implementation of the Level-3 BLAS", 2008.
"""

import numpy as np

from .. import matmul
from ..cpu.simd import register_bytes
from ..cpu.workspace import caches, workspace
from ..matmul import few_rows_cpu, operands
from ..problems import Matmul
from ..registry import select


def plan_of(problem, threads):
    """Of the kernel that is chosen for a product."""
    return select(matmul.FORWARD, problem).made(problem, threads)


class _Images:
    """What the plans of both directions that write images share.  One call at a time.

    source, target: channels of the images that are read and written
    """

    def __init__(self, problem, threads, source, target):
        self.problem = problem
        pixels, self.planes = problem.P * problem.Q, problem.layout == "NCHW"
        if self.planes:
            stack = () if problem.N == 1 else (problem.N,)
            self.shape, self.out_shape = (*stack, source, pixels), (*stack, target, pixels)
            product = Matmul(target, pixels, source, problem.dtype, (), stack)
        else:
            self.shape, self.out_shape = (problem.N * pixels, source), (problem.N * pixels, target)
            product = Matmul(problem.N * pixels, target, source, problem.dtype)
        self.product = plan_of(product, threads)
        self.threads, self.workspace_bytes = self.product.threads, self.product.workspace_bytes

    def _matrix(self, weight):
        """The weight (K, C) of planes, (C, K) of pixels, as a product takes it: itself, unless it has gaps along both axes."""
        matrix = weight[:, :, 0, 0] if self.planes else weight[0, 0]
        strides = [stride for length, stride in zip(matrix.shape, matrix.strides, strict=True) if length > 1]
        return matrix if matrix.itemsize in strides else np.ascontiguousarray(matrix)

    def _run(self, x, matrix, out, bias=None, residual=None, activation=None):
        operands = (matrix, x.reshape(self.shape)) if self.planes else (x.reshape(self.shape), matrix)
        if residual is not None:
            residual = residual.reshape(self.out_shape)
        self.product(*operands, out.reshape(self.out_shape), bias, residual, activation)
        return out


class Forward(_Images):
    """A plan for the convolution."""

    def __init__(self, problem, threads=1):
        super().__init__(problem, threads, problem.C, problem.K)

    def pack(self, weight, packed=None):
        """The weight, in the problem's layout and of any strides; it is small, and nothing is written into ``packed``."""
        return self._matrix(weight)

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``; all C-contiguous, in the problem's layout."""
        if bias is not None and self.planes:  # a product's bias is one of each column
            column = bias[:, None, None]
            np.copyto(out, column) if residual is None else np.add(residual, column, out=out)
            bias, residual = None, out
        return self._run(x, packed, out, bias, residual, activation)


class BackwardInput(_Images):
    """A plan for the gradient with respect to the input."""

    def __init__(self, problem, threads=1):
        super().__init__(problem, threads, problem.K, problem.C)

    def pack(self, weight, packed=None):
        """The transpose of the weight, in the problem's layout and of any strides."""
        return self._matrix(weight).T

    def __call__(self, grad_output, packed, out):
        """Write the gradient of x's shape for ``grad_output`` into ``out``; all C-contiguous, in the problem's layout."""
        return self._run(grad_output, packed, out)


class BackwardWeight:
    """A plan for the gradient with respect to the weight.  One call at a time.

    The rows of the product are the fewer channels, and the sums its transpose where that is not how weights lie in memory.
    """

    def __init__(self, problem, threads=1):
        self.problem = problem
        pixels, self.planes = problem.P * problem.Q, problem.layout == "NCHW"
        self.of_outputs = problem.K <= problem.C
        rows, columns = sorted((problem.K, problem.C))
        self.product = plan_of(Matmul(rows, columns, pixels * (1 if self.planes else problem.N), problem.dtype), threads)
        turned = rows > 1 and self.of_outputs != self.planes
        self.sums = workspace(1, rows * columns, problem.dtype)[0, : rows * columns] if turned else None
        self.threads, self.workspace_bytes = self.product.threads, self.product.workspace_bytes
        if turned:
            self.workspace_bytes += self.sums.nbytes

    def __call__(self, grad_output, x, out):
        """Write the gradient of the weight's shape into ``out``, all C-contiguous, in the problem's layout."""
        problem = self.problem
        if not problem.N:
            out[...] = 0
            return out
        few, many = (grad_output, x) if self.of_outputs else (x, grad_output)
        shape = self.product.problem.out_shape
        sums = (out if self.sums is None else self.sums).reshape(shape)
        if self.planes:
            pixels = problem.P * problem.Q
            few, many = few.reshape(-1, shape[0], pixels), many.reshape(-1, shape[1], pixels)
            for n in range(problem.N):
                self.product(few[n], many[n].T, sums, residual=sums if n else None)
        else:
            lines = problem.N * problem.P * problem.Q
            self.product(few.reshape(lines, shape[0]).T, many.reshape(lines, shape[1]), sums)
        if self.sums is not None:
            np.copyto(out.reshape(shape[::-1]), sums.T)
        return out


def refuses(problem):
    """Why it cannot compute ``problem``."""
    if (problem.R, problem.S) != (1, 1) or any(map(any, problem.padding)):
        return ("the window is not 1x1, or it has padding",)
    if problem.stride != (1, 1) or problem.groups > 1:
        return ("it has a stride, or groups",)
    return ()


LEAST_OF_MANY = 1 << 14
"""Pixels times channels of a plane's image from which on a product for each of several images pays.

On a Granite Rapids n4 c256 14x14 k2 took 0.66 of the time so, n16 c256 7x7 k6 1.05, n16 c24 14x14 k10 1.1.
"""


MOST_ASKED = 12
"""Outputs for which pixels that come from far are asked for."""


def declines(problem, direction):
    """Why another kernel should compute ``problem``.

    On one thread of a Granite Rapids n1 c64 64x64 k1 took 0.4 of the time of all others forward and 0.2 in the gradient of the
    weight, n8 c100 15x15 k10 0.65 and 0.7, n1 c1 128x128 k64 0.75 in the gradient of the input; n1 c256 64x64 k21 of planes
    2.3 forward, and where the fewer channels are those that are read it took 0.8 to 1.6.  Forward from far n8 c64 56x56 k8 of
    planes took 1.1, n16 c512 7x7 k12 1.1; of pixels, which are asked for, it took 0.6, k4 0.57, as long as to read them.
    """
    sides = problem.C, problem.K
    few, many = sorted(sides) if direction == "backward_weight" else reversed(sides) if direction == "forward" else sides
    itemsize, pixels, planes = np.dtype(problem.dtype).itemsize, problem.P * problem.Q, problem.layout == "NCHW"
    if few > many or few * itemsize >= register_bytes():
        return ("there are channels enough for whole vectors",)
    if direction == "backward_weight":
        if planes and few > few_rows_cpu.MOST_VECTORS * few_rows_cpu.GROUP:
            return ("planes are turned for so many rows",)
        if planes and problem.N > 1 and pixels * many < LEAST_OF_MANY:
            return ("each image is a product of its own",)
    elif planes and few > operands.FEW and problem.N * many * pixels * itemsize > caches().level2 // 2:
        return ("images come from far, and are read in pieces",)
    elif not planes and few > MOST_ASKED and problem.image_bytes > caches().level2:
        return ("images come from far, and are not asked for",)
    return ()
