import torch
import torch.nn.functional as F
from torch import Tensor

from .common import PerAxis, to_tuple


def pad_same(
    x: Tensor, kernel_size: PerAxis, *, stride: PerAxis = 1, dilation: PerAxis = 1
) -> Tensor:
    """Pads (N, C, ...) as TensorFlow does: ceil(size / stride) windows fit, the odd zero behind."""
    sizes = x.shape[2:]
    options = (to_tuple(value, len(sizes)) for value in (kernel_size, stride, dilation))
    margins: list[int] = []
    for size, kernel, step, apart in zip(sizes, *options, strict=True):
        total = torch.sym_max((kernel - 1) * apart - (size - 1) % step, 0)
        margins = [total // 2, total - total // 2, *margins]
    return F.pad(x, margins)


def batch_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Tensor:
    """The convolution of each image with a kernel of its own.

    Args:
        x: (N, C, H, W).
        weight: (N, O, C / groups, kh, kw).
        bias: (N, O).
        stride: as in a convolution, like all that follows.
        padding: zeros at both ends.
        dilation: distance between a kernel's places.
        groups: groups of channels that are convolved apart.

    Returns:
        (N, O, H', W').
    """
    n, channels, height, width = x.shape
    # the images side by side, as groups of one
    x = F.conv2d(
        x.reshape(1, n * channels, height, width),
        weight.flatten(0, 1),
        None if bias is None else bias.flatten(),
        to_tuple(stride, 2),
        to_tuple(padding, 2),
        to_tuple(dilation, 2),
        groups * n,
    )
    return x.reshape(n, weight.shape[1], *x.shape[2:])
