from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def affine_grid(theta: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """torch.nn.functional.affine_grid in two dimensions, exportable with unknown sizes.

    Args:
        theta: (N, 2, 3), rows (x, y).
        size: height and width of the grid.
        align_corners: whether -1 and 1 are the centres of the outer pixels, or their outer edges.

    Returns:
        (N, height, width, 2), the coordinates (x, y).
    """

    def axis(count: int) -> Tensor:
        steps = torch.arange(count, dtype=theta.dtype, device=theta.device)
        if align_corners:
            return 2 * steps / max(count - 1, 1) - (1 if count > 1 else 0)
        return (2 * steps + 1) / count - 1

    y, x = torch.meshgrid(axis(size[0]), axis(size[1]), indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], -1)
    return torch.einsum("hwk,nik->nhwi", points, theta)


def neighbourhoods(
    x: Tensor,
    kernel_size: int,
    *,
    dilation: int = 1,
    padding: int = 0,
    stride: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """The square windows of an image, (N, C, H, W) -> (N, C, k * k, H', W').

    Args:
        x: (N, C, H, W).
        kernel_size: k.
        dilation: distance between a window's places.
        padding: what is added at both ends.
        stride: step of the windows.
        padding_mode: zeros, reflect, replicate or circular.
    """
    if padding:
        mode = "constant" if padding_mode == "zeros" else padding_mode
        x = F.pad(x, (padding,) * 4, mode)
    reach = dilation * (kernel_size - 1)
    size = [(length - reach - 1) // stride + 1 for length in x.shape[2:]]
    windows = F.unfold(x, kernel_size, dilation=dilation, stride=stride)
    return windows.unflatten(2, size).unflatten(1, (-1, kernel_size**2))
