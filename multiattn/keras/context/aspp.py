from collections.abc import Sequence
from typing import Any

from keras import ops

from multiattn import checks
from multiattn.keras import nn


def conv_norm_relu(out_channels: int, rate: int = 0) -> list[Any]:
    """A 3x3 convolution of this dilation, or for 0 a 1x1 one, with batch norm and ReLU."""
    kernel_size = 3 if rate else 1
    conv = nn.Conv2d(out_channels, kernel_size, padding=rate, dilation=max(rate, 1), bias=False)
    return [conv, nn.BatchNorm(), nn.relu]


def global_mean(x):
    return ops.mean(x, (1, 2), keepdims=True)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: convolutions of several dilations side by side.

    "Rethinking Atrous Convolution for Semantic Image Segmentation", Chen et al., arXiv 2017
    (DeepLab v3); the sum is that of DeepLab v2.

    Args:
        out_channels: channels of the output; in mode "sum" the number of classes.
        atrous_rates: dilations of the 3x3 convolutions; at least one.
        mode: "concat": these, a 1x1 convolution and the global mean, each with norm and ReLU, are
            concatenated and projected; "sum": only the dilated convolutions, added.
        dropout: rate of dropout after the projection.

    Shape: (N, H, W, C) -> (N, H, W, out_channels)
    """

    def __init__(
        self,
        out_channels: int = 256,
        *,
        atrous_rates: Sequence[int] = (12, 24, 36),
        mode: str = "concat",
        dropout: float = 0.5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, out_channels=out_channels)
        checks.nonempty(self, atrous_rates=atrous_rates)
        for rate in atrous_rates:
            checks.positive(self, atrous_rates=rate)
        checks.choice(self, ("concat", "sum"), mode=mode)
        self.out_channels = out_channels
        self.atrous_rates = tuple(atrous_rates)
        self.mode = mode
        self.dropout = dropout

    def setup(self, shape):
        if self.mode == "sum":
            self.convs = nn.ModuleList(
                nn.Conv2d(
                    self.out_channels,
                    3,
                    padding=rate,
                    dilation=rate,
                    kernel_initializer=nn.initializers.normal(0.01),
                    bias_initializer=nn.initializers.zeros,
                )
                for rate in self.atrous_rates
            )
            return
        self.convs = nn.ModuleList(
            nn.Sequential(*conv_norm_relu(self.out_channels, rate))
            for rate in (0, *self.atrous_rates)
        )
        self.convs.append(nn.Sequential(global_mean, *conv_norm_relu(self.out_channels)))
        self.project = nn.Sequential(*conv_norm_relu(self.out_channels), nn.Dropout(self.dropout))

    def call(self, x, training=None):
        branches = [conv(x, training=training) for conv in self.convs]
        if self.mode == "sum":
            return sum(branches[1:], branches[0])
        branches[-1] = ops.broadcast_to(branches[-1], ops.shape(branches[0]))
        return self.project(ops.concatenate(branches, -1), training=training)
