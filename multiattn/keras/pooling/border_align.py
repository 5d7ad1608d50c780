from keras import ops
from keras.backend import result_type

from multiattn import checks
from multiattn.keras import nn

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
        x (N, H, W, 4C), boxes (N, M, 4) as x1, y1, x2, y2 -> (N, M, 4, C): top, left, bottom,
        right. The boxes have no gradient.

    Raises:
        ValueError: x's channels are not a multiple of four, or boxes don't have four elements.
    """

    def __init__(self, pool_size: int = 10, *, spatial_scale: float = 1.0, **kwargs):
        # the boxes keep their precision
        super().__init__(autocast=False, **kwargs)
        checks.positive(self, pool_size=pool_size, spatial_scale=spatial_scale)
        self.pool_size = pool_size
        self.spatial_scale = spatial_scale

    def setup(self, x_shape, boxes_shape):
        channels = x_shape[-1]
        if channels % 4:
            checks.fail(self, f"channels ({channels}) must be divisible by 4")
        checks.sizes(self, (x_shape[0], None, 4), boxes=boxes_shape)

    def call(self, x, boxes):
        x = ops.cast(x, self.compute_dtype)
        n, height, width, channels = ops.shape(x)
        dtype = result_type(x.dtype, "float32")
        boxes = ops.cast(ops.stop_gradient(boxes), dtype) * self.spatial_scale
        starts, ends = (ops.take(boxes, side, -1) for side in (STARTS, ENDS))  # (N, M, 4, 2)
        steps = ops.reshape(ops.arange(self.pool_size + 1, dtype=dtype), (-1, 1))
        strides = steps * ops.expand_dims(ends - starts, 3) / self.pool_size
        points = ops.expand_dims(starts, 3) + strides
        points = ops.reshape(ops.swapaxes(points, 1, 2), (4 * n, -1, self.pool_size + 1, 2))
        columns, rows = points[..., 0], points[..., 1]  # (4N, M, points)
        inside, grid = True, []
        for places, size in ((columns, width), (rows, height)):
            inside = inside & (places >= -1) & (places <= ops.cast(size, dtype))
            grid.append(2 * places / ops.cast(ops.maximum(size - 1, 1), dtype) - 1)
        sides = ops.reshape(x, (n, height, width, 4, channels // 4))
        samples = nn.grid_sample(
            ops.reshape(ops.moveaxis(sides, 3, 1), (4 * n, height, width, channels // 4)),
            ops.stack(grid, -1),
            padding_mode="border",
            align_corners=True,
        )
        samples = samples * ops.cast(ops.expand_dims(inside, -1), x.dtype)
        borders = ops.reshape(nn.amax(samples, 2), (n, 4, -1, channels // 4))
        return ops.swapaxes(borders, 1, 2)
