from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


@lru_cache
def pixels(size: tuple[int, int], shift: float = 0.0) -> np.ndarray:
    """Each pixel's (y, x), -1 and 1 being the outermost, moved by a part of a pixel: (h, w, 2)."""
    rows, columns = (np.linspace(-1, 1, n) + 2 * shift / (n - 1) for n in size)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)


def folded(x: jax.Array, groups: int) -> jax.Array:
    """The groups of channels into the batch: (N, H, W, C) -> (N · groups, H, W, C / groups)."""
    x = jnp.moveaxis(x.reshape(*x.shape[:3], groups, -1), 3, 1)
    return x.reshape(-1, *x.shape[2:])


class DeformableAttention(nnx.Module):
    """Attention to keys and values that are sampled at predicted places of the map.

    "Vision Transformer with Deformable Attention", Xia et al., CVPR 2022.

    Args:
        channels: channels of the input, and of the output; a multiple of num_heads.
        num_heads: number of heads; a multiple of groups.
        feat_size: height and width of the input, at least 2.
        groups: of channels, each with its own places.
        stride: of the network that predicts the places' offsets: one place per stride.
        kernel_size: of that network; padded by half of it, or not at all if it is the stride.
        offset_range_factor: bounds the offsets, in places; if negative, offsets are free and
            places are kept within the map.
        pos_embed: what is added to the scores: "table" and "log_cpb" make it from the distance
            to each place, "fixed" is learned for each pair, None is nothing; "dwc" adds a
            depthwise convolution of the queries to the output instead.
        attn_dropout: rate of dropout of the attention weights.
        proj_dropout: rate of dropout of the output.

    Shape: (N, H, W, C) -> (N, H, W, C)

    Raises:
        ValueError: the input isn't of feat_size.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        feat_size: Sequence[int],
        *,
        groups: int = 1,
        stride: int = 1,
        kernel_size: int = 3,
        offset_range_factor: float = -1,
        pos_embed: str | None = "table",
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, stride=stride, kernel_size=kernel_size)
        checks.divisible(self, by="num_heads", channels=channels, num_heads=num_heads)
        checks.divisible(self, by="groups", num_heads=num_heads, groups=groups)
        checks.choice(self, ("table", "dwc", "fixed", "log_cpb", None), pos_embed=pos_embed)
        checks.length(self, 2, feat_size=feat_size)
        padding = 0 if kernel_size == stride else kernel_size // 2
        places = tuple((size + 2 * padding - kernel_size) // stride + 1 for size in feat_size)
        if min(*feat_size, *places) < 2:
            checks.fail(self, f"feat_size ({tuple(feat_size)}) leaves {places} places, needs two")
        if pos_embed == "fixed" and places != tuple(size // stride for size in feat_size):
            checks.fail(self, f"pos_embed 'fixed' needs places {places} to be feat_size // stride")
        height, width = feat_size
        width_of_group = channels // groups
        self.num_heads = num_heads
        self.feat_size = (height, width)
        self.groups = groups
        self.offset_range_factor = offset_range_factor
        self.pos_embed = pos_embed
        self.dtype = dtype
        layer: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv_offset = nn.Sequential(
            nn.Conv2d(
                width_of_group,
                width_of_group,
                kernel_size,
                stride=stride,
                padding=padding,
                groups=width_of_group,
                **layer,
            ),
            nn.LayerNorm(width_of_group, **layer),
            nn.gelu,
            nn.Conv2d(width_of_group, 2, 1, bias=False, **layer),
        )
        self.proj_q = nn.Conv2d(channels, channels, 1, **layer)
        self.proj_k = nn.Conv2d(channels, channels, 1, **layer)
        self.proj_v = nn.Conv2d(channels, channels, 1, **layer)
        self.proj_out = nn.Conv2d(channels, channels, 1, **layer)
        self.attn_drop = nn.Dropout(attn_dropout, rngs=rngs)
        self.proj_drop = nn.Dropout(proj_dropout, rngs=rngs)
        if pos_embed in ("table", "fixed"):
            shape = (
                (2 * height - 1, 2 * width - 1)
                if pos_embed == "table"
                else (height * width, places[0] * places[1])
            )
            initial = nn.initializers.trunc_normal(0.01)
            self.rpe_table = nnx.Param(initial(rngs.params(), (num_heads, *shape), param_dtype))
        elif pos_embed == "dwc":
            self.rpe_table = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, **layer)
        elif pos_embed == "log_cpb":
            self.rpe_table = nn.Sequential(
                nn.Linear(2, 32, **layer),
                nn.relu,
                nn.Linear(32, num_heads // groups, bias=False, **layer),
            )

    def places(self, queries: jax.Array) -> jax.Array:
        """Where each group samples, (N · groups, h, w, 2) as (y, x), with -1 and 1 at the ends."""
        offsets = self.conv_offset(folded(queries, self.groups))
        offsets = offsets.astype(jnp.promote_types(offsets.dtype, jnp.float32))
        height, width = size = offsets.shape[1:3]
        # the last of them are beyond the map, as published
        references = jnp.asarray(pixels(size, 0.5), offsets.dtype)
        if self.offset_range_factor < 0:
            return (references + offsets).clip(-1, 1)
        bounds = self.offset_range_factor / np.array([height - 1, width - 1])
        return references + jnp.tanh(offsets) * jnp.asarray(bounds, offsets.dtype)

    def position_bias(self, places: jax.Array, dtype) -> jax.Array | None:
        """What is added to the scores, (N, heads, H · W, h · w) or (heads, H · W, h · w)."""
        if self.pos_embed == "fixed":
            return self.rpe_table[...].astype(dtype)
        if self.pos_embed not in ("table", "log_cpb"):
            return None
        queries = jnp.asarray(pixels(self.feat_size), places.dtype).reshape(-1, 1, 2)
        distances = queries - places.reshape(len(places), 1, -1, 2)  # (N · groups, H · W, h · w, 2)
        if self.pos_embed == "table":
            tables = self.rpe_table[...].astype(places.dtype)
            tables = jnp.moveaxis(tables.reshape(self.groups, -1, *tables.shape[1:]), 1, -1)
            tables = jnp.tile(tables, (len(places) // self.groups, 1, 1, 1))
            bias = nn.grid_sample(tables, distances[..., ::-1] / 2, align_corners=True)
        else:
            distances = jnp.sign(distances) * jnp.log2(4 * jnp.abs(distances) + 1) / 3
            bias = self.rpe_table(distances.astype(dtype))
        bias = jnp.moveaxis(bias, -1, 1)
        return bias.reshape(-1, self.num_heads, *bias.shape[2:]).astype(dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        checks.sizes(self, self.feat_size, x=x.shape[1:3])
        queries = self.proj_q(x)
        places = self.places(queries)
        samples = nn.grid_sample(folded(x, self.groups), places[..., ::-1], align_corners=True)
        samples = samples.reshape(len(x), self.groups, *samples.shape[1:])
        samples = jnp.moveaxis(samples, 1, 3).reshape(len(x), *places.shape[1:3], -1)
        samples = samples.astype(x.dtype)
        heads = (
            maps.reshape(len(x), -1, self.num_heads, maps.shape[-1] // self.num_heads)
            for maps in (queries, self.proj_k(samples), self.proj_v(samples))
        )
        context = nn.scaled_dot_product_attention(
            *heads, mask=self.position_bias(places, queries.dtype), dropout=self.attn_drop
        )
        context = context.reshape(x.shape)
        if self.pos_embed == "dwc":
            context = context + self.rpe_table(queries)
        return self.proj_drop(self.proj_out(context))
