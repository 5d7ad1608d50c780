import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class StripPooling(nn.Module):
    """Strip pooling: gates each position by the context of its row's and its column's means.

    "Strip Pooling: Rethinking Spatial Pooling for Scene Parsing", Hou et al., CVPR 2020.

    Args:
        channels: channels of the input, and of the output.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, channels: int):
        super().__init__()
        checks.positive(self, channels=channels)
        self.conv1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1), bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.bn1(self.conv1(x.mean(3, keepdim=True)))
        columns = self.bn2(self.conv2(x.mean(2, keepdim=True)))
        return x * torch.sigmoid(self.conv3(F.relu(rows + columns)))
