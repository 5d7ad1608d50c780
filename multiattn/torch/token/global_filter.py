from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multiattn import checks


class GlobalFilter(nn.Module):
    """Global filter: multiplies the Fourier transform of the tokens' map by a learned one.

    "Global Filter Networks for Image Classification", Rao et al., NeurIPS 2021.

    Args:
        channels: channels of the input, and of the output.
        size: of the map (height, width) whose positions the tokens are, row by row.

    Shape: (N, H * W, C) -> (N, H * W, C)

    Raises:
        ValueError: the tokens are not as many as the size says.
    """

    def __init__(self, channels: int, size: int | Sequence[int] = (14, 14)):
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        checks.length(self, 2, size=self.size)
        checks.positive(self, channels=channels, size=min(self.size))
        height, width = self.size
        self.complex_weight = nn.Parameter(0.02 * torch.randn(height, width // 2 + 1, channels, 2))

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.size
        checks.sizes(self, (height * width,), x=x.shape[1:2])
        # half precision has transforms of powers of two alone
        dtype = torch.promote_types(x.dtype, torch.float32)
        maps = x.to(dtype).unflatten(1, self.size)
        spectrum = torch.fft.rfft2(maps, dim=(1, 2), norm="ortho")
        spectrum = spectrum * torch.view_as_complex(self.complex_weight.to(dtype))
        maps = torch.fft.irfft2(spectrum, s=self.size, dim=(1, 2), norm="ortho")
        return maps.flatten(1, 2).to(x.dtype)
