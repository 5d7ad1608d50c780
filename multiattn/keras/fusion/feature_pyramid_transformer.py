from typing import ClassVar

from keras import ops

from multiattn import checks
from multiattn.keras import nn
from multiattn.keras.fusion.grounding_transform import GroundingTransform
from multiattn.keras.fusion.rendering_transform import RenderingTransform
from multiattn.keras.self_attention.self_transform import SelfTransform

LEVELS = (2, 3, 4, 5)


def convolution(out_channels: int, kernel_size: int, **options) -> nn.Conv2d:
    options |= {
        "kernel_initializer": nn.initializers.kaiming_uniform(1.0),
        "bias_initializer": nn.initializers.zeros,
    }
    return nn.Conv2d(out_channels, kernel_size, **options)


class FeaturePyramidTransformer(nn.Module):
    """A pyramid neck: attention within each level, to the coarser and from the finer ones.

    "Feature Pyramid Transformer", Zhang et al., ECCV 2020.

    Args:
        channels: channels of each output; even, and divisible by num_mixtures.
        num_mixtures: softmaxes that are mixed within a level.
        norm: behind the 1x1 and 3x3 convolutions at both ends: "none" or "batch_norm".
        dropout: rate of dropout of the attention weights within a level.

    Shape:
        (N, H, W, C2), (N, H/2, W/2, C3), (N, H/4, W/4, C4), (N, H/8, W/8, C5) -> the same with
        `channels` channels each
    """

    input_strides: ClassVar[dict[str, int]] = {"c2": 1, "c3": 2, "c4": 4, "c5": 8}

    def __init__(
        self,
        channels: int = 256,
        *,
        num_mixtures: int = 2,
        norm: str = "none",
        dropout: float = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, channels=channels)
        if channels % 2:
            checks.fail(self, f"channels ({channels}) must be even")
        checks.divisible(self, by="num_mixtures", num_mixtures=num_mixtures, channels=channels)
        checks.choice(self, ("none", "batch_norm"), norm=norm)
        self.channels = channels
        self.num_mixtures = num_mixtures
        self.norm = norm
        self.dropout = dropout

    def setup(self, c2_shape, c3_shape, c4_shape, c5_shape):
        def conv(kernel_size: int) -> nn.Module:
            padding = kernel_size // 2
            if self.norm == "none":
                return convolution(self.channels, kernel_size, padding=padding)
            return nn.Sequential(
                convolution(self.channels, kernel_size, padding=padding, bias=False),
                nn.BatchNorm(),
            )

        def add(name: str, transform: nn.Module):
            transform.convolution = convolution
            setattr(self, name, transform)

        for level in LEVELS:
            setattr(self, f"fpn_p{level}_1x1", conv(1))
            within = SelfTransform(num_mixtures=self.num_mixtures, dropout=self.dropout)
            add(f"st_p{level}", within)
            for finer in LEVELS[: level - 2]:
                add(f"rt_p{level}_p{finer}", RenderingTransform(stride=2 ** (level - finer)))
            for coarser in LEVELS[level - 1 :]:
                add(f"gt_p{level}_p{coarser}", GroundingTransform())
            setattr(self, f"fpt_p{level}", conv(3))

    def enriched(self, level: int, maps: dict, **mode):
        """A level with what the attention within it and to the others has found."""
        x = maps[level]
        found = [getattr(self, f"st_p{level}")(x, **mode)]
        for finer in reversed(LEVELS[: level - 2]):
            found.append(getattr(self, f"rt_p{level}_p{finer}")(x, maps[finer], **mode))
        for coarser in LEVELS[level - 1 :]:
            found.append(getattr(self, f"gt_p{level}_p{coarser}")(x, maps[coarser], **mode))
        return getattr(self, f"fpt_p{level}")(ops.concatenate([*found, x], -1), **mode)

    def call(self, c2, c3, c4, c5, training=None):
        mode = {"training": training}
        maps = {
            level: getattr(self, f"fpn_p{level}_1x1")(x, **mode)
            for level, x in zip(LEVELS, (c2, c3, c4, c5), strict=True)
        }
        return tuple(self.enriched(level, maps, **mode) for level in LEVELS)
