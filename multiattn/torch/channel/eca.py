import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class ECA(nn.Module):
    """Efficient channel attention: gates each channel by a small convolution along the channels.

    "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", Wang et al.,
    CVPR 2020.

    Args:
        channels: channels of the input, and of the output.
        kernel_size: odd; None: (log2(channels) + beta) / gamma, cut down, then up to an odd one.
        gamma: see kernel_size.
        beta: see kernel_size.
        shared: one kernel for all channels; False gives each channel its own.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int | None = None,
        gamma: float = 2,
        beta: float = 1,
        shared: bool = True,
    ):
        super().__init__()
        checks.positive(self, channels=channels, gamma=gamma)
        if kernel_size is None:
            kernel_size = int(abs((math.log2(channels) + beta) / gamma)) | 1
        checks.odd(self, kernel_size=kernel_size)
        kernels = 1 if shared else channels
        self.kernel_size = kernel_size
        self.shared = shared
        self.conv = nn.Conv1d(kernels, kernels, kernel_size, groups=kernels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        padding = self.kernel_size // 2
        context = x.mean((2, 3), keepdim=True).flatten(2).mT  # (N, 1, C)
        if self.shared:
            context = F.conv1d(context, self.conv.weight, padding=padding)
        else:
            windows = F.pad(context, (padding, padding)).unfold(2, self.kernel_size, 1)
            context = self.conv(windows.squeeze(1)).mT
        return x * torch.sigmoid(context).mT[..., None]
