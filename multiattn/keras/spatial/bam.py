from keras import ops

from multiattn import checks
from multiattn.keras import nn


class BAMChannelGate(nn.Module):
    """The channel branch of BAM: the map's mean through an MLP with batch norms.

    Args:
        reduction: the MLP has channels // reduction hidden channels, at least one.
        num_layers: hidden layers.

    Shape: (N, H, W, C) -> (N, 1, 1, C)
    """

    def __init__(self, *, reduction: int = 16, num_layers: int = 1, **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, num_layers=num_layers)
        self.reduction = reduction
        self.num_layers = num_layers

    def setup(self, shape):
        channels = shape[-1]
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        for i in range(self.num_layers):
            setattr(self, f"fc_{i}", nn.Linear(hidden))
            setattr(self, f"bn_{i + 1}", nn.BatchNorm())
        self.fc_final = nn.Linear(channels)

    def call(self, x, training=None):
        context = ops.mean(x, (1, 2))
        for i in range(self.num_layers):
            fc, bn = getattr(self, f"fc_{i}"), getattr(self, f"bn_{i + 1}")
            context = nn.relu(bn(fc(context), training=training))
        return self.fc_final(context)[:, None, None, :]


class BAMSpatialGate(nn.Module):
    """The spatial branch of BAM: a bottleneck of dilated convolutions down to one plane.

    Args:
        reduction: the bottleneck has channels // reduction channels, at least one.
        dilation: of the 3x3 convolutions.
        num_convs: how many 3x3 convolutions.

    Shape: (N, H, W, C) -> (N, H, W, 1)
    """

    def __init__(self, *, reduction: int = 16, dilation: int = 4, num_convs: int = 2, **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, dilation=dilation, num_convs=num_convs)
        self.reduction = reduction
        self.dilation = dilation
        self.num_convs = num_convs

    def setup(self, shape):
        hidden = checks.quotient(self, channels=shape[-1], reduction=self.reduction)
        self.conv_reduce = nn.Conv2d(hidden, 1)
        self.bn_reduce = nn.BatchNorm()
        self.convs = nn.ModuleList(
            nn.Conv2d(hidden, 3, padding=self.dilation, dilation=self.dilation)
            for _ in range(self.num_convs)
        )
        self.bns = nn.ModuleList(nn.BatchNorm() for _ in range(self.num_convs))
        self.conv_final = nn.Conv2d(1, 1)

    def call(self, x, training=None):
        x = nn.relu(self.bn_reduce(self.conv_reduce(x), training=training))
        for conv, bn in zip(self.convs, self.bns, strict=True):
            x = nn.relu(bn(conv(x), training=training))
        return self.conv_final(x)


class BAM(nn.Module):
    """Bottleneck attention: a channel and a spatial branch side by side, combined to one gate.

    "BAM: Bottleneck Attention Module", Park et al., BMVC 2018.

    Args:
        reduction: both branches have channels // reduction hidden channels, at least one.
        dilation: of the spatial branch's 3x3 convolutions.
        num_layers: hidden layers of the channel branch.
        num_convs: 3x3 convolutions of the spatial branch.
        combine: "mul" multiplies the branches, as the authors' code does; "add" is the paper's
            formula.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        reduction: int = 16,
        dilation: int = 4,
        num_layers: int = 1,
        num_convs: int = 2,
        combine: str = "mul",
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.choice(self, ("mul", "add"), combine=combine)
        self.reduction = reduction
        self.dilation = dilation
        self.num_layers = num_layers
        self.num_convs = num_convs
        self.combine = combine

    def setup(self, shape):
        self.channel_gate = BAMChannelGate(reduction=self.reduction, num_layers=self.num_layers)
        self.spatial_gate = BAMSpatialGate(
            reduction=self.reduction, dilation=self.dilation, num_convs=self.num_convs
        )

    def call(self, x, training=None):
        channel = self.channel_gate(x, training=training)
        spatial = self.spatial_gate(x, training=training)
        gate = channel * spatial if self.combine == "mul" else channel + spatial
        return x * (1 + nn.sigmoid(gate))
