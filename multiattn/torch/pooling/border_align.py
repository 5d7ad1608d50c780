import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import amax

# Where the sides (top, left, bottom, right) begin and end, as elements of x1, y1, x2, y2.
STARTS = [[0, 1], [0, 1], [2, 3], [2, 3]]
ENDS = [[2, 1], [0, 3], [0, 3], [2, 1]]


class BorderAlign(nn.Module):
    """Max-pools, for each box, what is sampled along its sides, a quarter of the channels each.

    "BorderDet: Border Feature for Dense Object Detection", Qiu et al., ECCV 2020.

    Args:
        pool_size: a side is sampled at pool_size + 1 points, both its ends included.
        spatial_scale: factor from the boxes' coordinates to the map's, in which pixel centres are
            integers.

    Shape:
        x (N, 4C, H, W), boxes (N, M, 4) as x1, y1, x2, y2 -> (N, C, M, 4): top, left, bottom,
        right. The boxes have no gradient.

    Raises:
        ValueError: x's channels are not a multiple of four, or boxes don't have four elements.
    """

    def __init__(self, pool_size: int = 10, *, spatial_scale: float = 1.0):
        super().__init__()
        checks.positive(self, pool_size=pool_size, spatial_scale=spatial_scale)
        self.pool_size = pool_size
        self.spatial_scale = spatial_scale

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        if channels % 4:
            checks.fail(self, f"channels ({channels}) must be divisible by 4")
        checks.sizes(self, (x.shape[0], None, 4), boxes=boxes.shape)
        dtype = torch.promote_types(x.dtype, torch.float32)
        boxes = boxes.detach().to(dtype) * self.spatial_scale
        starts, ends = boxes[..., STARTS], boxes[..., ENDS]  # (N, M, 4, 2)
        steps = torch.arange(self.pool_size + 1, dtype=dtype, device=x.device)[:, None]
        points = starts[..., None, :] + steps * (ends - starts)[..., None, :] / self.pool_size
        columns, rows = points.transpose(1, 2).flatten(0, 1).unbind(-1)  # (4N, M, points)
        inside = (columns >= -1) & (columns <= width) & (rows >= -1) & (rows <= height)
        grid = [2 * columns / max(width - 1, 1) - 1, 2 * rows / max(height - 1, 1) - 1]
        sides = x.to(dtype).reshape(-1, channels // 4, height, width)
        samples = F.grid_sample(
            sides, torch.stack(grid, -1), padding_mode="border", align_corners=True
        )
        borders = amax(samples * inside[:, None], -1).to(x.dtype)  # (4N, C, M)
        return borders.unflatten(0, (-1, 4)).movedim(1, -1)
