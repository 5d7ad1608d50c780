import torch
from torch import Tensor, nn

from multiattn import checks


class GatedChannelTransform(nn.Module):
    """Gated channel transformation: channels compete by their norms; starts as the identity.

    "Gated Channel Transformation for Visual Recognition", Yang et al., CVPR 2020.

    Args:
        channels: channels of the input, and of the output.
        eps: added under the roots or, with "l1", to the divisor.
        mode: the norm, "l2" or "l1".
        after_relu: the input is known not to be negative: "l1" does without the absolute value.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self, channels: int, *, eps: float = 1e-5, mode: str = "l2", after_relu: bool = False
    ):
        super().__init__()
        checks.positive(self, channels=channels)
        checks.choice(self, ("l2", "l1"), mode=mode)
        self.eps = eps
        self.mode = mode
        self.after_relu = after_relu
        self.alpha = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "l2":
            norm = (x.square().sum((2, 3), keepdim=True) + self.eps).sqrt()
            embedding = self.alpha * norm
            scale = (embedding.square().mean(1, keepdim=True) + self.eps).sqrt()
        else:
            norm = (x if self.after_relu else x.abs()).sum((2, 3), keepdim=True)
            embedding = self.alpha * norm
            scale = embedding.abs().mean(1, keepdim=True) + self.eps
        return x * (1 + torch.tanh(embedding * (self.gamma / scale) + self.beta))
