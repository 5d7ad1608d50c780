from keras import ops

from multiattn import checks
from multiattn.keras import nn


class RenderingTransform(nn.Module):
    """FPT's rendering transformer: a fine map gates a coarse one's channels, and is added to it.

    "Feature Pyramid Transformer", Zhang et al., ECCV 2020.

    Args:
        high_channels: channels of the coarse input, and of the output.
        low_channels: channels of the fine input.
        stride: from the fine map to the coarse one.

    Shape:
        high (N, h, w, high_channels), low (N, H, W, low_channels) -> (N, h, w, high_channels),
        where h = ceil(H / stride), and w likewise.

    Raises:
        ValueError: the inputs' sizes do not fit the stride.
    """

    # what makes the convolutions: a network may have others for its own initial values
    convolution = nn.Conv2d

    def __init__(self, *, stride: int = 2, **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, stride=stride)
        self.stride = stride

    @property
    def input_strides(self) -> dict[str, int]:  # type: ignore[override]
        return {"high": self.stride, "low": 1}

    def setup(self, high_shape, low_shape):
        channels = high_shape[-1]
        self.conv1x1 = self.convolution(channels, 1, bias=False)
        self.bn_low = nn.BatchNorm()
        self.conv3x3 = self.convolution(channels, 3, padding=1, bias=False)
        self.bn_high = nn.BatchNorm()
        self.str_conv3x3 = self.convolution(channels, 3, stride=self.stride, padding=1, bias=False)
        self.bn_reduction = nn.BatchNorm()

    def call(self, high, low, training=None):
        mode = {"training": training}
        reduced = [(size - 1) // self.stride + 1 for size in ops.shape(low)[1:3]]
        checks.sizes(self, reduced, high=ops.shape(high)[1:3])
        gate = nn.relu(self.bn_low(self.conv1x1(ops.mean(low, (1, 2), keepdims=True)), **mode))
        gated = self.bn_high(self.conv3x3(high), **mode) * gate
        return nn.relu(self.bn_reduction(self.str_conv3x3(low), **mode) + gated)
