import math

from keras import ops

from multiattn import checks
from multiattn.keras import nn


class ECA(nn.Module):
    """Efficient channel attention: gates each channel by a small convolution along the channels.

    "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", Wang et al.,
    CVPR 2020.

    Args:
        kernel_size: odd; None: (log2(channels) + beta) / gamma, cut down, then up to an odd one.
        gamma: see kernel_size.
        beta: see kernel_size.
        shared: one kernel for all channels; False gives each channel its own.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        kernel_size: int | None = None,
        gamma: float = 2,
        beta: float = 1,
        shared: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, gamma=gamma)
        if kernel_size is not None:
            checks.odd(self, kernel_size=kernel_size)
        self.kernel_size = kernel_size
        self.gamma = gamma
        self.beta = beta
        self.shared = shared

    def setup(self, shape):
        channels = shape[-1]
        if self.kernel_size is None:
            self.kernel_size = int(abs((math.log2(channels) + self.beta) / self.gamma)) | 1
        kernels = 1 if self.shared else channels
        self.conv = nn.Conv1d(kernels, self.kernel_size, groups=kernels, bias=False)

    def call(self, x, training=None):
        channels, padding = x.shape[-1], self.kernel_size // 2
        context = nn.pad(ops.mean(x, (1, 2))[:, :, None], ((padding, padding),))
        if self.shared:
            context = self.conv(context)[:, :, 0]
        else:
            windows = [context[:, k : k + channels, 0] for k in range(self.kernel_size)]
            context = self.conv(ops.stack(windows, 1))[:, 0]
        return x * nn.sigmoid(context)[:, None, None, :]
