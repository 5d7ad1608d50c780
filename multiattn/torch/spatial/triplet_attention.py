import torch
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import amax


class TripletGate(nn.Module):
    """A mask over two axes of a map, from its maximum and mean over the third.

    Args:
        kernel_size: odd.

    Shape: (N, 2, A, B) -> (N, 1, A, B), the two planes being the maximum and the mean
    """

    def __init__(self, *, kernel_size: int = 7):
        super().__init__()
        checks.odd(self, kernel_size=kernel_size)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, planes: Tensor) -> Tensor:
        return torch.sigmoid(self.bn(self.conv(planes)))


class TripletAttention(nn.Module):
    """Triplet attention: the mean of three masks, one over each pair of axes of the map.

    "Rotate to Attend: Convolutional Triplet Attention Module", Misra et al., WACV 2021.

    Args:
        spatial: False leaves out the mask over height and width.
        kernel_size: of the masks' convolutions; odd.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, *, spatial: bool = True, kernel_size: int = 7):
        super().__init__()
        self.cw = TripletGate(kernel_size=kernel_size)
        self.hc = TripletGate(kernel_size=kernel_size)
        self.hw = TripletGate(kernel_size=kernel_size) if spatial else None

    def forward(self, x: Tensor) -> Tensor:
        def planes(axis: int) -> Tensor:
            return torch.stack([amax(x, axis), x.mean(axis)], 1)

        masks = [self.cw(planes(2)).transpose(1, 2), self.hc(planes(3).mT).transpose(1, 3)]
        if self.hw is not None:
            masks.append(self.hw(planes(1)))
        return x * (sum(masks) / len(masks))
