import math

import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class OctaveConv(nn.Module):
    """A convolution over a map of high and one of low frequency, which has half the resolution.

    "Drop an Octave: Reducing Spatial Redundancy in Convolutional Neural Networks with Octave
    Convolution", Chen et al., ICCV 2019.

    Args:
        in_channels: channels of both input maps together.
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
        (N, C_high, H, W), (N, C_low, H / 2, W / 2) -> (N, O_high, H', W'), (N, O_low, H' / 2,
        W' / 2), with H' = H / stride; without a low map, the high one alone.

    Raises:
        ValueError: the high map's sizes are odd (with stride 2 and a low output: not divisible by
            4), or the low map's not half of them; a map is missing, or one too many.
    """

    def __init__(
        self,
        in_channels: int,
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
    ):
        super().__init__()
        checks.positive(self, kernel_size=kernel_size, dilation=dilation)
        checks.choice(self, (1, 2), stride=stride)
        for name, alpha in (("alpha_in", alpha_in), ("alpha_out", alpha_out)):
            if not 0 <= alpha < 1:
                checks.fail(self, f"{name} ({alpha}) must be from 0 to less than 1")
        depthwise = groups == in_channels
        if depthwise and alpha_in == 0 and alpha_out > 0:
            checks.fail(self, f"groups ({groups}) leave nothing for a low map (alpha_out)")
        raised = stride == 1 and alpha_in > 0 and not depthwise
        if raised and 2 * padding != dilation * (kernel_size - 1):
            checks.fail(self, f"padding ({padding}) must be dilation * (kernel_size - 1) / 2")
        low_in, low_out = int(alpha_in * in_channels), int(alpha_out * out_channels)
        high_in, high_out = in_channels - low_in, out_channels - low_out

        def conv(inputs: int, outputs: int, groups: int) -> nn.Conv2d:
            widths = {"channels of an input map": inputs, "channels of an output map": outputs}
            checks.positive(self, **widths)
            checks.divisible(self, by="groups", groups=groups, **widths)
            return nn.Conv2d(
                inputs,
                outputs,
                kernel_size,
                padding=padding,
                dilation=dilation,
                groups=groups,
                bias=bias,
            )

        self.stride = stride
        self.alpha_in = alpha_in
        self.alpha_out = alpha_out
        self.conv_h2h = conv(high_in, high_out, math.ceil(groups - alpha_in * groups))
        self.conv_h2l = conv(high_in, low_out, groups) if alpha_out > 0 and not depthwise else None
        self.conv_l2h = conv(low_in, high_out, groups) if alpha_in > 0 and not depthwise else None
        self.conv_l2l = (
            conv(low_in, low_out, math.ceil(alpha_in * groups))
            if alpha_in > 0 and alpha_out > 0
            else None
        )

    def forward(
        self, x_high: Tensor, x_low: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        height, width = x_high.shape[2:]
        if (x_low is None) != (self.alpha_in == 0):
            maps = "x_high and x_low" if x_low is None else "x_high alone"
            checks.fail(self, f"alpha_in ({self.alpha_in}) takes {maps}")
        step = 4 if self.stride == 2 and self.alpha_out > 0 else 2
        checks.sizes(self, (height // step * step, width // step * step), x_high=(height, width))
        if x_low is not None:
            checks.sizes(self, (height // 2, width // 2), x_low=x_low.shape[2:])
        if self.stride == 2:
            x_high = F.avg_pool2d(x_high, 2)
        y_high = self.conv_h2h(x_high)
        if self.conv_l2h is not None:
            low = self.conv_l2h(x_low)
            y_high = y_high + (F.interpolate(low, scale_factor=2) if self.stride == 1 else low)
        if self.alpha_out == 0:
            return y_high
        terms = []
        if self.conv_h2l is not None:
            terms.append(self.conv_h2l(F.avg_pool2d(x_high, 2)))
        if self.conv_l2l is not None:
            terms.append(self.conv_l2l(F.avg_pool2d(x_low, 2) if self.stride == 2 else x_low))
        return y_high, sum(terms)
