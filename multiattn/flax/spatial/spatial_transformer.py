from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class SpatialTransformer(nnx.Module):
    """Spatial transformer: samples the input at a grid moved by an affine map that it predicts.

    "Spatial Transformer Networks", Jaderberg et al., NeurIPS 2015.

    Args:
        in_channels: channels of the input, and of the output.
        input_size: height and width of the input; needed by a localisation network.
        localization: the network that predicts the map: "conv", "fc", or "none" to pass the six
            numbers as the second input.
        hidden: hidden units of the localisation network; None: 32 for "conv", 20 for "fc".
        dropout: rate after the hidden units of "fc".
        output_size: height and width of the output; None: those of the input.
        align_corners: whether -1 and 1 are the centres of the outer pixels, or their outer edges.
        padding: what lies outside of the image: "zeros" or "border".
        sampler: "grid_sample", or "kevinzakka" for the TensorFlow original's rule, which
            stretches the grid by (size - 1) / (size - 2) and gives zero beyond the outer centres;
            it ignores align_corners and padding.

    Shape:
        (N, H, W, C) -> (N, h, w, C); with localization "none" a second input theta, (N, 6) or
        (N, 2, 3), rows (x, y).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        input_size: Sequence[int] | None = None,
        localization: str = "conv",
        hidden: int | None = None,
        dropout: float = 0.0,
        output_size: Sequence[int] | None = None,
        align_corners: bool = True,
        padding: str = "zeros",
        sampler: str = "grid_sample",
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, in_channels=in_channels)
        checks.choice(self, ("conv", "fc", "none"), localization=localization)
        checks.choice(self, ("zeros", "border"), padding=padding)
        checks.choice(self, ("grid_sample", "kevinzakka"), sampler=sampler)
        self.localization = localization
        self.output_size = None if output_size is None else tuple(output_size)
        self.align_corners = align_corners
        self.padding = padding
        self.sampler = sampler
        self.dtype = dtype
        if localization == "none":
            return
        if input_size is None:
            checks.fail(self, f"localization {localization!r} needs input_size")
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        last = {
            "weight_init": nn.initializers.zeros,
            "bias_init": nn.initializers.constant([1, 0, 0, 0, 1, 0]),
            **layer,
        }
        height, width = input_size
        if localization == "conv":
            height, width = (((size - 6) // 2 - 4) // 2 for size in input_size)
            if min(height, width) < 1:
                checks.fail(self, f"input_size ({tuple(input_size)}) must be at least (18, 18)")
            self.conv1 = nn.Conv2d(in_channels, 8, 7, **layer)
            self.conv2 = nn.Conv2d(8, 10, 5, **layer)
            self.fc1 = nn.Linear(10 * height * width, hidden or 32, **layer)
            self.fc2 = nn.Linear(hidden or 32, 6, **last)
        else:
            self.fc1 = nn.Linear(in_channels * height * width, hidden or 20, **layer)
            self.dropout = nn.Dropout(dropout, rngs=rngs)
            self.fc2 = nn.Linear(hidden or 20, 6, **last)

    def localize(self, x: jax.Array) -> jax.Array:
        """The six numbers of the map, (N, 6), that the localisation network predicts."""
        if self.localization == "conv":
            x = nn.relu(nn.max_pool(self.conv1(x), 2))
            x = nn.relu(nn.max_pool(self.conv2(x), 2))
            return self.fc2(nn.relu(self.fc1(nn.flatten(x))))
        return nn.tanh(self.fc2(self.dropout(nn.tanh(self.fc1(nn.flatten(x))))))

    def __call__(self, x: jax.Array, theta: jax.Array | None = None) -> jax.Array:
        x = nn.promote(self.dtype, x)
        theta = self.localize(x) if theta is None else nn.promote(self.dtype, theta)
        height, width = x.shape[1:3]
        size = self.output_size or (height, width)
        legacy = self.sampler == "kevinzakka"
        grid = nn.affine_grid(
            theta.reshape(-1, 2, 3), size, align_corners=legacy or self.align_corners
        )
        if not legacy:
            return nn.grid_sample(
                x, grid, padding_mode=self.padding, align_corners=self.align_corners
            )
        inside, moved = jnp.ones(grid.shape[:-1], bool), []
        for axis, last in enumerate((width - 1, height - 1)):
            pixel = 0.5 * (grid[..., axis] + 1) * (last - 1)
            inside = inside & (pixel >= 0) & (pixel < last)
            moved.append(2 * pixel / max(last, 1) - 1)
        return nn.grid_sample(x, jnp.stack(moved, -1), align_corners=True) * inside[..., None]
