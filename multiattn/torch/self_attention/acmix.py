from typing import Any

import torch
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import affine_grid, neighbourhoods


class ACmix(nn.Module):
    """ACmix: local self-attention and a 3x3 convolution that share their projections, added.

    "On the Integration of Self-Attention and Convolution", Pan et al., CVPR 2022.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; divisible by num_heads.
        kernel_size: of the attention's windows; odd.
        num_heads: number of heads.
        stride: of both; divides H and W.

    Shape: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), H and W greater than
        kernel_size // 2

    Raises:
        ValueError: H or W is not a multiple of stride, or not greater than kernel_size // 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 7,
        num_heads: int = 4,
        stride: int = 1,
    ):
        super().__init__()
        checks.positive(self, in_channels=in_channels, out_channels=out_channels, stride=stride)
        checks.divisible(self, by="num_heads", num_heads=num_heads, out_channels=out_channels)
        checks.odd(self, kernel_size=kernel_size)
        head_dim = out_channels // num_heads
        self.num_heads = num_heads
        self.stride = stride
        self.windows: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": kernel_size // 2,
            "padding_mode": "reflect",
        }
        self.rate1 = nn.Parameter(torch.full((1,), 0.5))
        self.rate2 = nn.Parameter(torch.full((1,), 0.5))
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 1)
        self.conv3 = nn.Conv2d(in_channels, out_channels, 1)
        self.conv_p = nn.Conv2d(2, head_dim, 1)
        self.fc = nn.Conv2d(3 * num_heads, 9, 1, bias=False)
        self.dep_conv = nn.Conv2d(
            9 * head_dim, out_channels, 3, stride=stride, padding=1, groups=head_dim, bias=False
        )
        with torch.no_grad():  # each place of the kernel shifts its own map there
            self.dep_conv.weight.copy_(torch.eye(9).reshape(9, 3, 3))

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The attention within windows, of heads (N, heads, head_dim, H, W)."""
        identity = torch.eye(2, 3, dtype=keys.dtype, device=keys.device)[None]
        positions = affine_grid(identity, keys.shape[3:], align_corners=True)
        # the centre's own place would add the same to all scores of its window
        keys = keys - self.conv_p(positions.permute(0, 3, 1, 2))
        keys, values = (
            neighbourhoods(maps.flatten(1, 2), **self.windows).unflatten(1, maps.shape[1:3])
            for maps in (keys, values)
        )
        queries = queries[..., :: self.stride, :: self.stride] * queries.shape[2] ** -0.5
        attention = torch.softmax((queries.unsqueeze(3) * keys).sum(2, keepdim=True), 3)
        return (attention * values).sum(3).flatten(1, 2)

    def convolve(self, heads: Tensor) -> Tensor:
        """The convolution of all queries', keys' and values' heads (N, 3 heads, head_dim, H, W)."""
        maps = self.fc(heads.flatten(3)).transpose(1, 2)
        return self.dep_conv(maps.flatten(1, 2).unflatten(2, heads.shape[3:]))

    def forward(self, x: Tensor) -> Tensor:
        height, width = (size // self.stride * self.stride for size in x.shape[2:])
        checks.sizes(self, (height, width), x=x.shape[2:])
        checks.larger(self, self.windows["padding"], x=x.shape[2:])
        queries, keys, values = (
            conv(x).unflatten(1, (self.num_heads, -1))
            for conv in (self.conv1, self.conv2, self.conv3)
        )
        attended = self.attend(queries, keys, values)
        return self.rate1 * attended + self.rate2 * self.convolve(
            torch.cat([queries, keys, values], 1)
        )
