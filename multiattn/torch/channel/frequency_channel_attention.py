from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks, constants


class FrequencyChannelAttention(nn.Module):
    """Squeeze-and-excitation whose squeeze is a cosine transform: each group has its frequency.

    "FcaNet: Frequency Channel Attention Networks", Qin et al., ICCV 2021.

    Args:
        channels: channels of the input, and of the output; divisible by the frequencies' number.
        dct_size: size (height, width) that the map is pooled to before the transform.
        reduction: the bottleneck has channels // reduction channels, at least one.
        frequencies: "top", "low" or "bot", then their number: 1, 2, 4, 8, 16 or 32.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int,
        *,
        dct_size: int | Sequence[int] = 7,
        reduction: int = 16,
        frequencies: str = "top16",
    ):
        super().__init__()
        allowed = [f"{kind}{2**power}" for kind in constants.FREQUENCIES for power in range(6)]
        checks.choice(self, allowed, frequencies=frequencies)
        checks.divisible(
            self, by="frequencies", frequencies=int(frequencies[3:]), channels=channels
        )
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.dct_size = (dct_size, dct_size) if isinstance(dct_size, int) else tuple(dct_size)
        checks.length(self, 2, dct_size=self.dct_size)
        checks.positive(self, dct_size=min(self.dct_size))
        # a buffer would lose digits on the way from float32 to float64
        self.basis = torch.from_numpy(
            constants.cosine_basis(frequencies, self.dct_size)[:, :, None]
        )
        self.fc1 = nn.Linear(channels, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, self.dct_size).flatten(2)
        spectrum = pooled.unflatten(1, (len(self.basis), -1)) @ self.basis.to(x)
        context = self.fc2(F.relu(self.fc1(spectrum.flatten(1))))
        return x * torch.sigmoid(context)[:, :, None, None]
