from typing import ClassVar

from keras import ops

from multiattn import checks
from multiattn.keras import nn


class ASFFBlock(nn.Module):
    """Convolution, batch norm, activation.

    Args:
        out_channels: channels of the output.
        kernel_size: odd.
        stride: of the convolution.
        activation: "leaky_relu" (slope 0.1) or "relu6".

    Shape: (N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), out_channels)
    """

    def __init__(
        self,
        out_channels: int,
        *,
        kernel_size: int = 1,
        stride: int = 1,
        activation: str = "leaky_relu",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.activation = activation

    def setup(self, shape):
        self.conv = nn.Conv2d(
            self.out_channels,
            self.kernel_size,
            stride=self.stride,
            padding=self.kernel_size // 2,
            bias=False,
        )
        self.batch_norm = nn.BatchNorm()

    def call(self, x, training=None):
        x = self.batch_norm(self.conv(x), training=training)
        return nn.relu6(x) if self.activation == "relu6" else nn.leaky_relu(x, 0.1)


class ASFF(nn.Module):
    """Adaptively spatial feature fusion: mixes three pyramid levels pixel by pixel.

    "Learning Spatial Fusion for Single-Shot Object Detection", Liu et al., arXiv 2019.

    Args:
        level: the level to fuse at: 0 (the coarsest), 1 or 2.
        out_channels: channels of the output; None: (1024, 512, 256)[level].
        rfb: narrow weight branches, 8 channels instead of 16.
        vis: also return the mixing weights and the mixture's sum over channels.
        activation: "leaky_relu" (slope 0.1), or "relu6" as in the mobile networks.

    Shape:
        (N, H, W, C0), (N, 2H, 2W, C1), (N, 4H, 4W, C2) -> (N, h, w, out_channels), the size being
        that of the level; with vis also (N, h, w, 3) and (N, h, w).

    Raises:
        ValueError: the inputs' sizes are not in the ratio 1 : 2 : 4.
    """

    input_strides: ClassVar[dict[str, int]] = {"x0": 4, "x1": 2, "x2": 1}

    def __init__(
        self,
        *,
        level: int,
        out_channels: int | None = None,
        rfb: bool = False,
        vis: bool = False,
        activation: str = "leaky_relu",
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.choice(self, (0, 1, 2), level=level)
        checks.choice(self, ("leaky_relu", "relu6"), activation=activation)
        self.level = level
        self.out_channels = out_channels
        self.rfb = rfb
        self.vis = vis
        self.activation = activation

    def setup(self, x0_shape, x1_shape, x2_shape):
        channels = (x0_shape, x1_shape, x2_shape)[self.level][-1]
        hidden = 8 if self.rfb else 16
        block = {"activation": self.activation}
        down = {"kernel_size": 3, "stride": 2, **block}
        if self.level == 0:
            self.stride_level_1 = ASFFBlock(channels, **down)
            self.stride_level_2 = ASFFBlock(channels, **down)
        else:
            self.compress_level_0 = ASFFBlock(channels, **block)
        if self.level == 1:
            self.stride_level_2 = ASFFBlock(channels, **down)
        self.compress_level_1 = (
            ASFFBlock(channels, **block)
            if self.level == 2 and x1_shape[-1] != channels
            else nn.Identity()
        )
        self.weight_level_0 = ASFFBlock(hidden, **block)
        self.weight_level_1 = ASFFBlock(hidden, **block)
        self.weight_level_2 = ASFFBlock(hidden, **block)
        self.weight_levels = nn.Conv2d(3, 1)
        self.expand = ASFFBlock(
            self.out_channels or (1024, 512, 256)[self.level], kernel_size=3, **block
        )

    def resize(self, x0, x1, x2, **mode):
        """The three levels at the size and width of one."""
        if self.level == 0:
            x2 = nn.max_pool(x2, 3, stride=2, padding=1)
            return x0, self.stride_level_1(x1, **mode), self.stride_level_2(x2, **mode)
        x0 = nn.interpolate(self.compress_level_0(x0, **mode), scale_factor=2**self.level)
        if self.level == 1:
            return x0, x1, self.stride_level_2(x2, **mode)
        return x0, nn.interpolate(self.compress_level_1(x1, **mode), scale_factor=2), x2

    def call(self, x0, x1, x2, training=None):
        mode = {"training": training}
        height, width = ops.shape(x0)[1:3]
        checks.sizes(self, (2 * height, 2 * width), x1=ops.shape(x1)[1:3])
        checks.sizes(self, (4 * height, 4 * width), x2=ops.shape(x2)[1:3])
        x0, x1, x2 = self.resize(x0, x1, x2, **mode)
        weights = ops.concatenate(
            [
                self.weight_level_0(x0, **mode),
                self.weight_level_1(x1, **mode),
                self.weight_level_2(x2, **mode),
            ],
            -1,
        )
        weights = nn.softmax(self.weight_levels(weights))
        mixture = x0 * weights[..., 0:1] + x1 * weights[..., 1:2] + x2 * weights[..., 2:3]
        out = self.expand(mixture, **mode)
        return (out, weights, ops.sum(mixture, -1)) if self.vis else out
