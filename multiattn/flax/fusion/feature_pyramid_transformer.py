from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn
from multiattn.flax.fusion.grounding_transform import GroundingTransform
from multiattn.flax.fusion.rendering_transform import RenderingTransform
from multiattn.flax.self_attention.self_transform import SelfTransform

LEVELS = (2, 3, 4, 5)


class FeaturePyramidTransformer(nnx.Module):
    """A pyramid neck: attention within each level, to the coarser and from the finer ones.

    "Feature Pyramid Transformer", Zhang et al., ECCV 2020.

    Args:
        in_channels: channels of the four levels, the finest first.
        channels: channels of each output; even, and divisible by num_mixtures.
        num_mixtures: softmaxes that are mixed within a level.
        norm: behind the 1x1 and 3x3 convolutions at both ends: "none" or "batch_norm".
        dropout: rate of dropout of the attention weights within a level.

    Shape:
        (N, H, W, C2), (N, H/2, W/2, C3), (N, H/4, W/4, C4), (N, H/8, W/8, C5) -> the same with
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
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        if len(in_channels) != len(LEVELS):
            checks.fail(self, f"in_channels ({tuple(in_channels)}) must have four elements")
        checks.positive(self, channels=channels)
        if channels % 2:
            checks.fail(self, f"channels ({channels}) must be even")
        checks.divisible(self, by="num_mixtures", num_mixtures=num_mixtures, channels=channels)
        checks.choice(self, ("none", "batch_norm"), norm=norm)
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}

        def conv(in_channels: int, kernel_size: int) -> nnx.Module:
            size: dict[str, Any] = {"kernel_size": kernel_size, "padding": kernel_size // 2}
            if norm == "none":
                return nn.Conv2d(in_channels, channels, **size, **layer)
            return nn.Sequential(
                nn.Conv2d(in_channels, channels, **size, bias=False, **layer),
                nn.BatchNorm(channels, **layer),
            )

        for level, width in zip(LEVELS, in_channels, strict=True):
            setattr(self, f"fpn_p{level}_1x1", conv(width, 1))
            within = SelfTransform(channels, num_mixtures=num_mixtures, dropout=dropout, **layer)
            setattr(self, f"st_p{level}", within)
            for finer in LEVELS[: level - 2]:
                stride = 2 ** (level - finer)
                transform = RenderingTransform(channels, channels, stride=stride, **layer)
                setattr(self, f"rt_p{level}_p{finer}", transform)
            for coarser in LEVELS[level - 1 :]:
                setattr(self, f"gt_p{level}_p{coarser}", GroundingTransform(channels, **layer))
            setattr(self, f"fpt_p{level}", conv(5 * channels, 3))
        initial = nn.initializers.kaiming_uniform(1.0)
        for _, member in nnx.iter_graph(self):
            if isinstance(member, nn.Conv2d):
                *size, inner, outer = member.kernel.shape
                weight = initial(rngs.params(), (outer, inner, *size), param_dtype)
                member.kernel[...] = weight.transpose(2, 3, 1, 0)
                if member.bias is not None:
                    member.bias[...] = jnp.zeros_like(member.bias[...])

    def enriched(self, level: int, maps: dict[int, jax.Array]) -> jax.Array:
        """A level with what the attention within it and to the others has found."""
        x = maps[level]
        found = [getattr(self, f"st_p{level}")(x)]
        for finer in reversed(LEVELS[: level - 2]):
            found.append(getattr(self, f"rt_p{level}_p{finer}")(x, maps[finer]))
        for coarser in LEVELS[level - 1 :]:
            found.append(getattr(self, f"gt_p{level}_p{coarser}")(x, maps[coarser]))
        return getattr(self, f"fpt_p{level}")(jnp.concatenate([*found, x], -1))

    def __call__(
        self, c2: jax.Array, c3: jax.Array, c4: jax.Array, c5: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        levels = nn.promote(self.dtype, c2, c3, c4, c5)
        maps = {
            level: getattr(self, f"fpn_p{level}_1x1")(x)
            for level, x in zip(LEVELS, levels, strict=True)
        }
        return tuple(self.enriched(level, maps) for level in LEVELS)
