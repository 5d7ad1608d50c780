import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class RenderingTransform(nn.Module):
    """FPT's rendering transformer: a fine map gates a coarse one's channels, and is added to it.

    "Feature Pyramid Transformer", Zhang et al., ECCV 2020.

    Args:
        high_channels: channels of the coarse input, and of the output.
        low_channels: channels of the fine input.
        stride: from the fine map to the coarse one.

    Shape:
        high (N, high_channels, h, w), low (N, low_channels, H, W) -> (N, high_channels, h, w),
        where h = ceil(H / stride), and w likewise.

    Raises:
        ValueError: the inputs' sizes do not fit the stride.
    """

    def __init__(self, high_channels: int, low_channels: int, *, stride: int = 2):
        super().__init__()
        checks.positive(self, high_channels=high_channels, low_channels=low_channels, stride=stride)
        self.stride = stride
        self.conv1x1 = nn.Conv2d(low_channels, high_channels, 1, bias=False)
        self.bn_low = nn.BatchNorm2d(high_channels)
        self.conv3x3 = nn.Conv2d(high_channels, high_channels, 3, padding=1, bias=False)
        self.bn_high = nn.BatchNorm2d(high_channels)
        self.str_conv3x3 = nn.Conv2d(low_channels, high_channels, 3, stride, padding=1, bias=False)
        self.bn_reduction = nn.BatchNorm2d(high_channels)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        reduced = [(size - 1) // self.stride + 1 for size in low.shape[2:]]
        checks.sizes(self, reduced, high=high.shape[2:])
        gate = F.relu(self.bn_low(self.conv1x1(low.mean((2, 3), keepdim=True))))
        gated = self.bn_high(self.conv3x3(high)) * gate
        return F.relu(self.bn_reduction(self.str_conv3x3(low)) + gated)
