"""A convolution of images whose gradient is right on every processor."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`; one sample wide and strided, it is computed on the samples that it does not leap over.

    oneDNN up to 3.14 writes past its memory when it computes the gradient of such a weight for few channels,
    laid out last, in registers of 8 numbers (AVX2): wrong gradients, or the process dies
    (github.com/uxlfoundation/oneDNN/issues/6035). Where its weight has no gradient, as in a teacher or for
    the exporter, nothing differs from `nn.Conv2d`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, D, H', W')`."""
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        if self.kernel_size != (1, 1) or self.stride == (1, 1) or not learns:
            return super().forward(input)
        rows, columns = (int(each) for each in self.padding)
        if rows or columns:  # a pad of nothing would copy
            input = functional.pad(input, (columns, columns, rows, rows))
        down, along = self.stride
        return functional.conv2d(input[:, :, ::down, ::along], self.weight, self.bias, groups=self.groups)
