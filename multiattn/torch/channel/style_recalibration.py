import torch
from torch import Tensor, nn

from multiattn import checks


class StyleRecalibration(nn.Module):
    """Style-based recalibration: gates each channel by its own mean and standard deviation.

    "SRM: A Style-based Recalibration Module for Convolutional Neural Networks", Lee et al.,
    ICCV 2019.

    Args:
        channels: channels of the input, and of the output.
        eps: added to the variance over the map; the batch norm has its own.

    Shape: (N, C, H, W) -> (N, C, H, W), H * W > 1

    Raises:
        ValueError: the map has a single position.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5):
        super().__init__()
        checks.positive(self, channels=channels)
        self.eps = eps
        self.cfc = nn.Parameter(torch.zeros(channels, 2))
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        checks.several(self, x=x.shape[2:])
        mean = x.mean((2, 3), keepdim=True)
        deviation = (x.var((2, 3), keepdim=True) + self.eps).sqrt()
        of_mean, of_deviation = self.cfc[:, :, None, None].unbind(1)
        return x * torch.sigmoid(self.bn(of_mean * mean + of_deviation * deviation))
