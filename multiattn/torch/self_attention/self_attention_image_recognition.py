from typing import Any

import torch
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import affine_grid, neighbourhoods


class SelfAttentionImageRecognition(nn.Module):
    """Local vector attention of SAN: a small network weighs each window's places and channels.

    "Exploring Self-attention for Image Recognition", Zhao et al., CVPR 2020.

    Args:
        channels: channels of the input.
        mode: "pairwise" (weights from the centre's difference to each neighbour and their relative
            position, by a softmax) or "patchwise" (from the whole window at once, no softmax).
        rel_channels: of the features that the weights come from; None: channels // 16.
        out_channels: channels of the output, divisible by share; None: channels // 4.
        share: how many channels share a weight.
        kernel_size: of the windows; odd.
        stride: of the windows; 1 if patchwise.
        dilation: of the windows; 1 if patchwise.

    Shape: (N, C, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)), H and W greater
        than dilation * (kernel_size // 2)

    Raises:
        ValueError: H or W is not greater than dilation * (kernel_size // 2).
    """

    def __init__(
        self,
        channels: int,
        *,
        mode: str = "pairwise",
        rel_channels: int | None = None,
        out_channels: int | None = None,
        share: int = 8,
        kernel_size: int = 7,
        stride: int = 1,
        dilation: int = 1,
    ):
        super().__init__()
        checks.choice(self, ("pairwise", "patchwise"), mode=mode)
        checks.odd(self, kernel_size=kernel_size)
        checks.positive(self, stride=stride, dilation=dilation)
        if mode == "patchwise":
            checks.choice(self, (1,), stride=stride, dilation=dilation)
        rel_channels = channels // 16 if rel_channels is None else rel_channels
        out_channels = channels // 4 if out_channels is None else out_channels
        checks.positive(self, rel_channels=rel_channels, out_channels=out_channels)
        checks.divisible(self, by="share", share=share, out_channels=out_channels)
        places, weights = kernel_size**2, out_channels // share
        self.mode = mode
        self.share = share
        self.stride = stride
        self.windows: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": stride,
            "dilation": dilation,
            "padding": dilation * (kernel_size // 2),
            "padding_mode": "reflect",
        }
        self.conv1 = nn.Conv2d(channels, rel_channels, 1)
        self.conv2 = nn.Conv2d(channels, rel_channels, 1)
        self.conv3 = nn.Conv2d(channels, out_channels, 1)
        if mode == "pairwise":
            inputs, hidden, outputs = rel_channels + 2, rel_channels, weights
            self.conv_p = nn.Conv2d(2, 2, 1)
        else:
            inputs, hidden, outputs = rel_channels * (places + 1), weights, places * weights
        self.conv_w = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1),
        )

    def differences(self, centres: Tensor, neighbours: Tensor) -> Tensor:
        """Each centre minus the neighbours in its window, (N, C, k * k, H', W')."""
        centres = centres[..., :: self.stride, :: self.stride]
        return centres.unsqueeze(2) - neighbourhoods(neighbours, **self.windows)

    def pairwise(self, x: Tensor) -> Tensor:
        """The weights of each window, (N, out_channels // share, k * k, H', W')."""
        identity = torch.eye(2, 3, dtype=x.dtype, device=x.device)[None]
        positions = affine_grid(identity, x.shape[2:], align_corners=True)
        positions = self.conv_p(positions.permute(0, 3, 1, 2))
        relations = self.differences(self.conv1(x), self.conv2(x))
        positions = self.differences(positions, positions).expand(x.shape[0], -1, -1, -1, -1)
        relations = torch.cat([relations, positions], 1)
        weights = torch.softmax(self.conv_w(relations.flatten(3)), 2)
        return weights.unflatten(3, relations.shape[3:])

    def patchwise(self, x: Tensor) -> Tensor:
        """The weights of each window, (N, out_channels // share, k * k, H, W)."""
        windows = neighbourhoods(self.conv2(x), **self.windows)
        weights = self.conv_w(torch.cat([self.conv1(x), windows.flatten(1, 2)], 1))
        return weights.unflatten(1, (-1, windows.shape[2]))

    def forward(self, x: Tensor) -> Tensor:
        checks.larger(self, self.windows["padding"], x=x.shape[2:])
        weights = self.pairwise(x) if self.mode == "pairwise" else self.patchwise(x)
        values = neighbourhoods(self.conv3(x), **self.windows).unflatten(1, (self.share, -1))
        return (weights.unsqueeze(1) * values).sum(3).flatten(1, 2)
