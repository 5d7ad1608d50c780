import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiattn import checks
from multiattn.flax import nn

# Where the sides (top, left, bottom, right) begin and end, as elements of x1, y1, x2, y2.
STARTS = np.array([[0, 1], [0, 1], [2, 3], [2, 3]])
ENDS = np.array([[2, 1], [0, 3], [0, 3], [2, 1]])


class BorderAlign(nnx.Module):
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

    def __init__(
        self,
        pool_size: int = 10,
        *,
        spatial_scale: float = 1.0,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs | None = None,
    ):
        checks.positive(self, pool_size=pool_size, spatial_scale=spatial_scale)
        self.pool_size = pool_size
        self.spatial_scale = spatial_scale
        self.dtype = dtype

    def __call__(self, x: jax.Array, boxes: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        n, height, width, channels = x.shape
        if channels % 4:
            checks.fail(self, f"channels ({channels}) must be divisible by 4")
        checks.sizes(self, (n, None, 4), boxes=boxes.shape)
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        boxes = jax.lax.stop_gradient(boxes).astype(dtype) * self.spatial_scale
        starts, ends = boxes[..., STARTS], boxes[..., ENDS]  # (N, M, 4, 2)
        steps = jnp.arange(self.pool_size + 1, dtype=dtype)[:, None]
        points = starts[..., None, :] + steps * (ends - starts)[..., None, :] / self.pool_size
        points = points.swapaxes(1, 2).reshape(4 * n, -1, *points.shape[3:])  # (4N, M, points, 2)
        columns, rows = points[..., 0], points[..., 1]
        inside = (columns >= -1) & (columns <= width) & (rows >= -1) & (rows <= height)
        grid = [2 * columns / max(width - 1, 1) - 1, 2 * rows / max(height - 1, 1) - 1]
        sides = jnp.moveaxis(x.reshape(n, height, width, 4, -1), 3, 1)
        samples = nn.grid_sample(
            sides.reshape(4 * n, height, width, -1),
            jnp.stack(grid, -1),
            padding_mode="border",
            align_corners=True,
        )
        samples = samples * inside[..., None]
        borders = nn.amax(samples, 2)
        return borders.reshape(n, 4, -1, channels // 4).swapaxes(1, 2).astype(x.dtype)
