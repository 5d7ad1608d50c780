from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiattn import checks, constants
from multiattn.flax import nn

from .transformer import PatchEmbedding, TransformerMLP, linear


class WindowAttention(nnx.Module):
    """Multi-head self-attention within windows, with a learned bias for each relative position.

    Args:
        channels: width of the tokens.
        window_size: height and width of the windows.
        num_heads: heads; divides channels.
        qkv_bias: biases of queries, keys and values.
        attn_dropout: on the attention weights.
        proj_dropout: on the output.

    Shape:
        (B, L, C) -> (B, L, C) for B images times windows of L places; window_mask, which is added
        to the scores, is (windows, L, L) or None
    """

    def __init__(
        self,
        channels: int,
        *,
        window_size: Sequence[int],
        num_heads: int,
        qkv_bias: bool,
        attn_dropout: float,
        proj_dropout: float,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        height, width = window_size
        initial = nn.initializers.trunc_normal(0.02)
        shape = ((2 * height - 1) * (2 * width - 1), num_heads)
        self.window_size = window_size
        self.num_heads = num_heads
        self.dtype = dtype
        self.attn_dropout = nn.Dropout(attn_dropout, rngs=rngs)
        self.relative_position_bias_table = nnx.Param(initial(rngs.params(), shape, param_dtype))
        self.qkv = linear(channels, 3 * channels, bias=qkv_bias, **layer)
        self.proj = linear(channels, channels, **layer)
        self.proj_dropout = nn.Dropout(proj_dropout, rngs=rngs)

    def __call__(self, x: jax.Array, window_mask: np.ndarray | None) -> jax.Array:
        x, table = nn.promote(self.dtype, x, self.relative_position_bias_table)
        windows, length, channels = x.shape
        qkv = self.qkv(x).reshape(windows, length, 3, self.num_heads, -1)
        bias = table[constants.relative_positions(self.window_size)].transpose(2, 0, 1)[None]
        if window_mask is not None:
            bias = bias + jnp.asarray(window_mask, bias.dtype)[:, None]
            bias = jnp.tile(bias, (windows // window_mask.shape[0], 1, 1, 1))
        attended = nn.scaled_dot_product_attention(
            qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], mask=bias, dropout=self.attn_dropout
        )
        return self.proj_dropout(self.proj(attended.reshape(windows, length, channels)))


class SwinBlock(nnx.Module):
    """A transformer block with its norms in front, whose attention is within windows.

    Args:
        channels: width of the tokens.
        size: height and width of the map.
        window_size: height and width of the windows.
        shift: how far the windows are moved along each axis.
        num_heads: heads; divides channels.
        mlp_ratio: the two-layer network is so many times as wide inside.
        qkv_bias: biases of queries, keys and values.
        proj_dropout: on the output of the attention, and in the network.
        attn_dropout: on the attention weights.
        drop_path: the part of the samples whose branches are dropped in training.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        size: Sequence[int],
        window_size: Sequence[int],
        shift: Sequence[int],
        num_heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        proj_dropout: float,
        attn_dropout: float,
        drop_path: float,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.window_size = window_size
        self.shift = shift
        self.margins = tuple((0, -n % w) for n, w in zip(size, window_size, strict=True))
        self.norm1 = nn.LayerNorm(channels, **layer)
        self.attn = WindowAttention(
            channels,
            window_size=window_size,
            num_heads=num_heads,
            qkv_bias=qkv_bias,
            attn_dropout=attn_dropout,
            proj_dropout=proj_dropout,
            **layer,
        )
        hidden = int(channels * mlp_ratio)
        self.norm2 = nn.LayerNorm(channels, **layer)
        self.mlp = TransformerMLP(channels, hidden, dropout=proj_dropout, **layer)
        self.drop_path = nn.DropPath(drop_path, rngs=rngs)

    def attend(self, x: jax.Array) -> jax.Array:
        """The attention within the shifted windows."""
        n, height, width, channels = x.shape
        wh, ww = self.window_size
        rows, columns = -(-height // wh), -(-width // ww)
        mask = None
        if any(self.shift):
            x = jnp.roll(x, [-s for s in self.shift], (1, 2))
            mask = constants.shift_mask((rows * wh, columns * ww), (wh, ww), self.shift)
        x = nn.pad(x, self.margins)
        x = x.reshape(n, rows, wh, columns, ww, channels).swapaxes(2, 3)
        x = self.attn(x.reshape(-1, wh * ww, channels), mask)
        x = x.reshape(n, rows, columns, wh, ww, channels).swapaxes(2, 3)
        x = x.reshape(n, rows * wh, columns * ww, channels)[:, :height, :width]
        return jnp.roll(x, self.shift, (1, 2)) if any(self.shift) else x

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.drop_path(self.attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchMerging(nnx.Module):
    """Joins each 2x2 neighbours to one, of which a linear map makes twice as many channels.

    Args:
        channels: of the input.

    Shape: (N, H, W, C) -> (N, ceil(H / 2), ceil(W / 2), 2 * C)
    """

    def __init__(
        self,
        channels: int,
        *,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.norm = nn.LayerNorm(4 * channels, **layer)
        self.reduction = linear(4 * channels, 2 * channels, bias=False, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        n, height, width, channels = x.shape
        x = nn.pad(x, ((0, height % 2), (0, width % 2)))
        rows, columns = (height + 1) // 2, (width + 1) // 2
        x = x.reshape(n, rows, 2, columns, 2, channels).transpose(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(x.reshape(n, rows, columns, 4 * channels)))


class SwinStage(nnx.Module):
    """Blocks, of which every second one has its windows moved, behind a merging of patches.

    Args:
        channels: of the output.
        size: height and width of the output.
        merge: whether there is a merging; not in the first stage.
        window_size: height and width of the windows that are wanted.
        drop_path: of each of the blocks.
        **block: the other options of SwinBlock.

    Shape: (N, H, W, C) -> (N, H', W', channels)
    """

    def __init__(
        self,
        channels: int,
        *,
        size: Sequence[int],
        merge: bool,
        window_size: int,
        drop_path: Sequence[float],
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
        **block,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.windows = tuple(min(window_size, n) for n in size)
        shift = tuple(0 if n <= window_size else window_size // 2 for n in size)
        self.downsample = PatchMerging(channels // 2, **layer) if merge else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                SwinBlock(
                    channels,
                    size=size,
                    window_size=self.windows,
                    shift=shift if index % 2 else (0, 0),
                    drop_path=rate,
                    **block,
                    **layer,
                )
                for index, rate in enumerate(drop_path)
            )
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.blocks(self.downsample(x))


class Classifier(nnx.Module):
    """Dropout and a linear layer.

    Args:
        channels: width of the input.
        num_classes: outputs; 0 for no layer.
        dropout: before the layer.

    Shape: (N, C) -> (N, num_classes)
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        dropout: float,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.dropout = nn.Dropout(dropout, rngs=rngs)
        self.fc = linear(channels, num_classes, **layer) if num_classes else nn.Identity()

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc(self.dropout(x))


class SwinTransformer(nnx.Module):
    """A pyramid of transformer stages whose attention is within windows that move.

    "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al., ICCV
    2021.

    Args:
        img_size: height and width of the images.
        patch_size: height and width of a patch; what remains of the image is left out.
        in_channels: channels of the images.
        num_classes: outputs of the classifier; 0 for none, which gives the pooled features.
        embed_dim: channels of the first stage; each further one has twice as many.
        depths: blocks of each stage.
        num_heads: heads of each stage; divides its channels.
        window_size: height and width of the windows, where the map is larger.
        mlp_ratio: the blocks' two-layer networks are so many times as wide inside.
        qkv_bias: biases of queries, keys and values.
        dropout: on the pooled features.
        proj_dropout: on the output of the attentions, and in the two-layer networks.
        attn_dropout: on the attention weights.
        drop_path: the part of the samples whose branches are dropped in training, growing from
            block to block up to this.
        features_only: a call gives what stage_features gives; there is no classifier.

    Shape: (N, H, W, in_channels) -> (N, num_classes), or (N, features)
    """

    def __init__(
        self,
        *,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 4,
        in_channels: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        dropout: float = 0.0,
        proj_dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        features_only: bool = False,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, in_channels=in_channels, patch_size=patch_size)
        checks.positive(self, embed_dim=embed_dim, window_size=window_size, mlp_ratio=mlp_ratio)
        checks.nonempty(self, depths=depths)
        checks.length(self, len(depths), num_heads=num_heads)
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        checks.length(self, 2, img_size=self.img_size)
        self.features_only = features_only
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        size = tuple(n // patch_size for n in self.img_size)
        checks.positive(self, grid_height=size[0], grid_width=size[1])
        self.patch_embed = PatchEmbedding(
            in_channels, embed_dim, patch_size=patch_size, eps=1e-5, **layer
        )
        rates = iter(constants.drop_path_rates(drop_path, sum(depths)))
        self.layers = nn.ModuleList()
        for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            channels = embed_dim * 2**stage
            checks.divisible(self, by="num_heads", num_heads=heads, channels=channels)
            self.layers.append(
                SwinStage(
                    channels,
                    size=size,
                    merge=stage > 0,
                    window_size=window_size,
                    drop_path=[next(rates) for _ in range(depth)],
                    num_heads=heads,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                    proj_dropout=proj_dropout,
                    attn_dropout=attn_dropout,
                    **layer,
                )
            )
            size = tuple((n + 1) // 2 for n in size)
        if not features_only:
            self.norm = nn.LayerNorm(channels, **layer)
            self.head = Classifier(channels, num_classes, dropout=dropout, **layer)

    def stage_features(self, x: jax.Array) -> list[jax.Array]:
        """The maps of the stages, without a last norm."""
        checks.sizes(self, self.img_size, x=x.shape[1:3])
        x = self.patch_embed(nn.promote(self.dtype, x))
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return features

    def __call__(self, x: jax.Array) -> jax.Array | list[jax.Array]:
        features = self.stage_features(x)
        if self.features_only:
            return features
        return self.head(self.norm(features[-1]).mean((1, 2)))
