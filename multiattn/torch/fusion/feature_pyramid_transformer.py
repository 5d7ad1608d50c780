from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.fusion.grounding_transform import GroundingTransform
from multiattn.torch.fusion.rendering_transform import RenderingTransform
from multiattn.torch.self_attention.self_transform import SelfTransform

LEVELS = (2, 3, 4, 5)


class FeaturePyramidTransformer(nn.Module):
    """A pyramid neck: attention within each level, to the coarser and from the finer ones.

    "Feature Pyramid Transformer", Zhang et al., ECCV 2020.

    Args:
        in_channels: channels of the four levels, the finest first.
        channels: channels of each output; even, and divisible by num_mixtures.
        num_mixtures: softmaxes that are mixed within a level.
        norm: behind the 1x1 and 3x3 convolutions at both ends: "none" or "batch_norm".
        dropout: rate of dropout of the attention weights within a level.

    Shape:
        (N, C2, H, W), (N, C3, H/2, W/2), (N, C4, H/4, W/4), (N, C5, H/8, W/8) -> the same with
        `channels` channels each
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        channels: int = 256,
        *,
        num_mixtures: int = 2,
        norm: str = "none",
        dropout: float = 0.1,
    ):
        super().__init__()
        if len(in_channels) != len(LEVELS):
            checks.fail(self, f"in_channels ({tuple(in_channels)}) must have four elements")
        checks.positive(self, channels=channels)
        if channels % 2:
            checks.fail(self, f"channels ({channels}) must be even")
        checks.divisible(self, by="num_mixtures", num_mixtures=num_mixtures, channels=channels)
        checks.choice(self, ("none", "batch_norm"), norm=norm)

        def conv(in_channels: int, kernel_size: int) -> nn.Module:
            size: dict[str, Any] = {"kernel_size": kernel_size, "padding": kernel_size // 2}
            if norm == "none":
                return nn.Conv2d(in_channels, channels, **size)
            return nn.Sequential(
                nn.Conv2d(in_channels, channels, **size, bias=False),
                nn.BatchNorm2d(channels),
            )

        for level, width in zip(LEVELS, in_channels, strict=True):
            setattr(self, f"fpn_p{level}_1x1", conv(width, 1))
            within = SelfTransform(channels, num_mixtures=num_mixtures, dropout=dropout)
            setattr(self, f"st_p{level}", within)
            for finer in LEVELS[: level - 2]:
                stride = 2 ** (level - finer)
                transform = RenderingTransform(channels, channels, stride=stride)
                setattr(self, f"rt_p{level}_p{finer}", transform)
            for coarser in LEVELS[level - 1 :]:
                setattr(self, f"gt_p{level}_p{coarser}", GroundingTransform(channels))
            setattr(self, f"fpt_p{level}", conv(5 * channels, 3))
        for member in self.modules():
            if isinstance(member, nn.Conv2d):
                nn.init.kaiming_uniform_(member.weight, a=1)
                if member.bias is not None:
                    nn.init.zeros_(member.bias)

    def enriched(self, level: int, maps: dict[int, Tensor]) -> Tensor:
        """A level with what the attention within it and to the others has found."""
        x = maps[level]
        found = [getattr(self, f"st_p{level}")(x)]
        for finer in reversed(LEVELS[: level - 2]):
            found.append(getattr(self, f"rt_p{level}_p{finer}")(x, maps[finer]))
        for coarser in LEVELS[level - 1 :]:
            found.append(getattr(self, f"gt_p{level}_p{coarser}")(x, maps[coarser]))
        return getattr(self, f"fpt_p{level}")(torch.cat([*found, x], 1))

    def forward(
        self, c2: Tensor, c3: Tensor, c4: Tensor, c5: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        maps = {
            level: getattr(self, f"fpn_p{level}_1x1")(x)
            for level, x in zip(LEVELS, (c2, c3, c4, c5), strict=True)
        }
        return tuple(self.enriched(level, maps) for level in LEVELS)
