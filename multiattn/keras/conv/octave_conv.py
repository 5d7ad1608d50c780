import math
from typing import ClassVar

from keras import ops

from multiattn import checks
from multiattn.keras import nn


class OctaveConv(nn.Module):
    """A convolution over a map of high and one of low frequency, which has half the resolution.

    "Drop an Octave: Reducing Spatial Redundancy in Convolutional Neural Networks with Octave
    Convolution", Chen et al., ICCV 2019.

    Args:
        out_channels: channels of both output maps together.
        kernel_size: of the convolutions.
        alpha_in: the low map's part of the input, int(alpha_in * in_channels) channels; from 0,
            for a high map alone, to less than 1.
        alpha_out: the low map's part of the output, likewise.
        stride: 1, or 2, which is a pooling.
        padding: of the convolutions; it must keep the size.
        dilation: of the convolutions.
        groups: of the convolutions; if in_channels, the maps exchange nothing.
        bias: bias of the convolutions.

    Shape:
        (N, H, W, C_high), (N, H / 2, W / 2, C_low) -> (N, H', W', O_high), (N, H' / 2, W' / 2,
        O_low), with H' = H / stride; without a low map, the high one alone.

    Raises:
        ValueError: the high map's sizes are odd (with stride 2 and a low output: not divisible by
            4), or the low map's not half of them; a map is missing, or one too many.
    """

    input_strides: ClassVar[dict[str, int]] = {"x_high": 1, "x_low": 2}

    def __init__(
        self,
        out_channels: int,
        kernel_size: int,
        *,
        alpha_in: float = 0.5,
        alpha_out: float = 0.5,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, kernel_size=kernel_size, dilation=dilation)
        checks.choice(self, (1, 2), stride=stride)
        for name, alpha in (("alpha_in", alpha_in), ("alpha_out", alpha_out)):
            if not 0 <= alpha < 1:
                checks.fail(self, f"{name} ({alpha}) must be from 0 to less than 1")
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.alpha_in = alpha_in
        self.alpha_out = alpha_out
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.use_bias = bias

    def setup(self, x_high_shape, x_low_shape=None):
        groups, alpha_in, alpha_out = self.groups, self.alpha_in, self.alpha_out
        if (x_low_shape is None) != (alpha_in == 0):
            maps = "x_high and x_low" if x_low_shape is None else "x_high alone"
            checks.fail(self, f"alpha_in ({alpha_in}) takes {maps}")
        low_in = 0 if x_low_shape is None else x_low_shape[-1]
        high_in = x_high_shape[-1]
        in_channels = high_in + low_in
        checks.sizes(self, (int(alpha_in * in_channels),), x_low=(low_in,))
        depthwise = groups == in_channels
        if depthwise and alpha_in == 0 and alpha_out > 0:
            checks.fail(self, f"groups ({groups}) leave nothing for a low map (alpha_out)")
        raised = self.stride == 1 and alpha_in > 0 and not depthwise
        if raised and 2 * self.padding != self.dilation * (self.kernel_size - 1):
            checks.fail(self, f"padding ({self.padding}) must be dilation * (kernel_size - 1) / 2")
        low_out = int(alpha_out * self.out_channels)
        high_out = self.out_channels - low_out

        def conv(inputs: int, outputs: int, groups: int) -> nn.Conv2d:
            widths = {"channels of an input map": inputs, "channels of an output map": outputs}
            checks.positive(self, **widths)
            checks.divisible(self, by="groups", groups=groups, **widths)
            return nn.Conv2d(
                outputs,
                self.kernel_size,
                padding=self.padding,
                dilation=self.dilation,
                groups=groups,
                bias=self.use_bias,
            )

        self.conv_h2h = conv(high_in, high_out, math.ceil(groups - alpha_in * groups))
        self.conv_h2l = conv(high_in, low_out, groups) if alpha_out > 0 and not depthwise else None
        self.conv_l2h = conv(low_in, high_out, groups) if alpha_in > 0 and not depthwise else None
        self.conv_l2l = (
            conv(low_in, low_out, math.ceil(alpha_in * groups))
            if alpha_in > 0 and alpha_out > 0
            else None
        )

    def call(self, x_high, x_low=None, training=None):
        height, width = ops.shape(x_high)[1:3]
        step = 4 if self.stride == 2 and self.alpha_out > 0 else 2
        checks.sizes(self, (height // step * step, width // step * step), x_high=(height, width))
        if x_low is not None:
            checks.sizes(self, (height // 2, width // 2), x_low=ops.shape(x_low)[1:3])
        if self.stride == 2:
            x_high = nn.avg_pool(x_high, 2)
        y_high = self.conv_h2h(x_high)
        if self.conv_l2h is not None:
            low = self.conv_l2h(x_low)
            y_high = y_high + (nn.interpolate(low, scale_factor=2) if self.stride == 1 else low)
        if self.alpha_out == 0:
            return y_high
        terms = []
        if self.conv_h2l is not None:
            terms.append(self.conv_h2l(nn.avg_pool(x_high, 2)))
        if self.conv_l2l is not None:
            terms.append(self.conv_l2l(nn.avg_pool(x_low, 2) if self.stride == 2 else x_low))
        return y_high, sum(terms)
