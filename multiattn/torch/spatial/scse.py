import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class SCSEChannelGate(nn.Module):
    """The channel gate of scSE: a bottleneck over the channels' means.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottleneck has channels // reduction channels, at least one.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, channels: int, *, reduction: int = 2):
        super().__init__()
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        context = self.fc2(F.relu(self.fc1(x.mean((2, 3)))))
        return x * torch.sigmoid(context)[:, :, None, None]


class SCSESpatialGate(nn.Module):
    """The spatial gate of scSE: a weighted sum of the channels.

    Args:
        channels: channels of the input, and of the output.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x))


class SCSE(nn.Module):
    """Concurrent spatial and channel squeeze and excitation: two gates side by side, merged.

    "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks",
    Roy et al., MICCAI 2018.

    Args:
        channels: channels of the input, and of the output.
        reduction: the channel gate's bottleneck has channels // reduction channels, at least one.
        mode: "both", or one gate alone: "channel" or "spatial".
        fusion: of both: the elements' "max", as the authors' code has it, or "add", as the paper.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self, channels: int, *, reduction: int = 2, mode: str = "both", fusion: str = "max"
    ):
        super().__init__()
        checks.choice(self, ("both", "channel", "spatial"), mode=mode)
        checks.choice(self, ("max", "add"), fusion=fusion)
        checks.quotient(self, channels=channels, reduction=reduction)
        self.fusion = fusion
        self.cSE = None if mode == "spatial" else SCSEChannelGate(channels, reduction=reduction)
        self.sSE = None if mode == "channel" else SCSESpatialGate(channels)

    def forward(self, x: Tensor) -> Tensor:
        gated = [gate(x) for gate in (self.cSE, self.sSE) if gate is not None]
        if len(gated) == 1:
            return gated[0]
        channel, spatial = gated
        return torch.maximum(channel, spatial) if self.fusion == "max" else channel + spatial
