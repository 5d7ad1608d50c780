from collections.abc import Sequence

import torch
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
