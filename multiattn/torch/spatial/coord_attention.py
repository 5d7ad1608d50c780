import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import BatchNorm2d


class CoordAttention(nn.Module):
    """Coordinate attention: gates each position by its row's and its column's context.

    "Coordinate Attention for Efficient Mobile Network Design", Hou et al., CVPR 2021.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottleneck has max(8, channels // reduction) channels.
        conv1_bias: bias of the bottleneck's convolution; the TensorFlow original has none.
        bn_scale: scale of the bottleneck's norm; the TensorFlow original has none.
        bn_eps: epsilon of the norm; 1e-3 in the TensorFlow original.
        bn_momentum: weight of a new batch in the running statistics; 1e-3 in the TensorFlow one.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 32,
        conv1_bias: bool = True,
        bn_scale: bool = True,
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
    ):
        super().__init__()
        checks.positive(self, channels=channels, reduction=reduction)
        hidden = max(8, channels // reduction)
        self.conv1 = nn.Conv2d(channels, hidden, 1, bias=conv1_bias)
        self.bn1 = BatchNorm2d(hidden, eps=bn_eps, momentum=bn_momentum, scale=bn_scale)
        self.conv_h = nn.Conv2d(hidden, channels, 1)
        self.conv_w = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).mT
        context = F.hardswish(self.bn1(self.conv1(torch.cat([rows, columns], 2))))
        rows, columns = context.split([height, width], 2)
        return x * torch.sigmoid(self.conv_h(rows)) * torch.sigmoid(self.conv_w(columns.mT))
