from collections.abc import Sequence

from keras import ops

from multiattn import checks
from multiattn.keras import nn


class SpatialTransformer(nn.Module):
    """Spatial transformer: samples the input at a grid moved by an affine map that it predicts.

    "Spatial Transformer Networks", Jaderberg et al., NeurIPS 2015.

    Args:
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
        *,
        input_size: Sequence[int] | None = None,
        localization: str = "conv",
        hidden: int | None = None,
        dropout: float = 0.0,
        output_size: Sequence[int] | None = None,
        align_corners: bool = True,
        padding: str = "zeros",
        sampler: str = "grid_sample",
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.choice(self, ("conv", "fc", "none"), localization=localization)
        checks.choice(self, ("zeros", "border"), padding=padding)
        checks.choice(self, ("grid_sample", "kevinzakka"), sampler=sampler)
        if localization != "none":
            if input_size is None:
                checks.fail(self, f"localization {localization!r} needs input_size")
            if localization == "conv" and min(input_size) < 18:
                checks.fail(self, f"input_size ({tuple(input_size)}) must be at least (18, 18)")
        self.input_size = input_size
        self.localization = localization
        self.hidden = hidden
        self.dropout_rate = dropout
        self.output_size = output_size
        self.align_corners = align_corners
        self.padding = padding
        self.sampler = sampler

    def setup(self, x_shape, theta_shape=None):
        if self.localization == "none":
            return
        if self.localization == "conv":
            self.conv1 = nn.Conv2d(8, 7)
            self.conv2 = nn.Conv2d(10, 5)
            self.fc1 = nn.Linear(self.hidden or 32)
        else:
            self.fc1 = nn.Linear(self.hidden or 20)
            self.dropout = nn.Dropout(self.dropout_rate)
        self.fc2 = nn.Linear(
            6,
            kernel_initializer=nn.initializers.zeros,
            bias_initializer=nn.initializers.constant([1, 0, 0, 0, 1, 0]),
        )

    def localize(self, x, training=None):
        """The six numbers of the map, (N, 6), that the localisation network predicts."""
        x = ops.reshape(x, (-1, *self.input_size, x.shape[-1]))
        if self.localization == "conv":
            x = nn.relu(nn.max_pool(self.conv1(x), 2))
            x = nn.relu(nn.max_pool(self.conv2(x), 2))
            return self.fc2(nn.relu(self.fc1(nn.flatten(x))))
        x = self.dropout(nn.tanh(self.fc1(nn.flatten(x))), training=training)
        return nn.tanh(self.fc2(x))

    def call(self, x, theta=None, training=None):
        if theta is None:
            theta = self.localize(x, training=training)
        height, width = ops.shape(x)[1:3]
        size = self.output_size or (height, width)
        legacy = self.sampler == "kevinzakka"
        grid = nn.affine_grid(
            ops.reshape(theta, (-1, 2, 3)), size, align_corners=legacy or self.align_corners
        )
        if not legacy:
            return nn.grid_sample(
                x, grid, padding_mode=self.padding, align_corners=self.align_corners
            )
        inside, moved = True, []
        for axis, last in enumerate((width - 1, height - 1)):
            pixel = 0.5 * (grid[..., axis] + 1) * ops.cast(last - 1, grid.dtype)
            inside = inside & (pixel >= 0) & (pixel < ops.cast(last, grid.dtype))
            moved.append(2 * pixel / ops.cast(ops.maximum(last, 1), grid.dtype) - 1)
        sampled = nn.grid_sample(x, ops.stack(moved, -1), align_corners=True)
        return sampled * ops.cast(inside, x.dtype)[..., None]
