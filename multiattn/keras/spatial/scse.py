from keras import ops

from multiattn import checks
from multiattn.keras import nn


class SCSEChannelGate(nn.Module):
    """The channel gate of scSE: a bottleneck over the channels' means.

    Args:
        reduction: the bottleneck has channels // reduction channels, at least one.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, reduction: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction

    def setup(self, shape):
        channels = shape[-1]
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        self.fc1 = nn.Linear(hidden)
        self.fc2 = nn.Linear(channels)

    def call(self, x, training=None):
        context = self.fc2(nn.relu(self.fc1(ops.mean(x, (1, 2)))))
        return x * nn.sigmoid(context)[:, None, None, :]


class SCSESpatialGate(nn.Module):
    """The spatial gate of scSE: a weighted sum of the channels.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def setup(self, shape):
        self.conv = nn.Conv2d(1, 1)

    def call(self, x, training=None):
        return x * nn.sigmoid(self.conv(x))


class SCSE(nn.Module):
    """Concurrent spatial and channel squeeze and excitation: two gates side by side, merged.

    "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks",
    Roy et al., MICCAI 2018.

    Args:
        reduction: the channel gate's bottleneck has channels // reduction channels, at least one.
        mode: "both", or one gate alone: "channel" or "spatial".
        fusion: of both: the elements' "max", as the authors' code has it, or "add", as the paper.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, reduction: int = 2, mode: str = "both", fusion: str = "max", **kwargs):
        super().__init__(**kwargs)
        checks.choice(self, ("both", "channel", "spatial"), mode=mode)
        checks.choice(self, ("max", "add"), fusion=fusion)
        checks.positive(self, reduction=reduction)
        self.reduction = reduction
        self.mode = mode
        self.fusion = fusion

    def setup(self, shape):
        checks.quotient(self, channels=shape[-1], reduction=self.reduction)
        self.cSE = None if self.mode == "spatial" else SCSEChannelGate(reduction=self.reduction)
        self.sSE = None if self.mode == "channel" else SCSESpatialGate()

    def call(self, x, training=None):
        gates = (gate for gate in (self.cSE, self.sSE) if gate is not None)
        gated = [gate(x, training=training) for gate in gates]
        if len(gated) == 1:
            return gated[0]
        channel, spatial = gated
        return nn.maximum(channel, spatial) if self.fusion == "max" else channel + spatial
