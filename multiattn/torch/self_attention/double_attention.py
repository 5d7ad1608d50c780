import torch
from torch import Tensor, nn

from multiattn import checks


class DoubleAttention(nn.Module):
    """Double attention: gathers a few global descriptors, then hands each position a mixture.

    "A2-Nets: Double Attention Networks", Chen et al., NeurIPS 2018.

    Args:
        channels: channels of the input.
        c_m: width of the descriptors.
        c_n: number of descriptors.
        reconstruct: a last convolution back to channels.
        residual: adds the input at the end; needs reconstruct.

    Shape: (N, C, H, W) -> (N, C, H, W), or (N, c_m, H, W) without reconstruct
    """

    def __init__(
        self,
        channels: int,
        c_m: int,
        c_n: int,
        *,
        reconstruct: bool = True,
        residual: bool = False,
    ):
        super().__init__()
        checks.positive(self, channels=channels, c_m=c_m, c_n=c_n)
        if residual and not reconstruct:
            checks.fail(self, f"residual ({residual}) needs reconstruct ({reconstruct})")
        self.residual = residual
        self.convA = nn.Conv2d(channels, c_m, 1)
        self.convB = nn.Conv2d(channels, c_n, 1)
        self.convV = nn.Conv2d(channels, c_n, 1)
        self.conv_reconstruct = nn.Conv2d(c_m, channels, 1) if reconstruct else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        features, gathering, distribution = (
            conv(x).flatten(2) for conv in (self.convA, self.convB, self.convV)
        )
        descriptors = features @ torch.softmax(gathering, 2).mT
        mixtures = descriptors @ torch.softmax(distribution, 1)
        out = self.conv_reconstruct(mixtures.unflatten(2, x.shape[2:]))
        return out + x if self.residual else out
