from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks, constants
from multiattn.flax import nn

from .transformer import PatchEmbedding, TransformerMLP, linear


class ViTAttention(nnx.Module):
    """Multi-head self-attention.

    Args:
        channels: width of the tokens.
        num_heads: heads; divides channels.
        qkv_bias: biases of queries, keys and values.
        qk_norm: layer norms of the queries and the keys of each head.
        attn_dropout: on the attention weights.
        proj_dropout: on the output.

    Shape: (N, L, C) -> (N, L, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int,
        qkv_bias: bool,
        qk_norm: bool,
        attn_dropout: float,
        proj_dropout: float,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}

        def norm() -> nnx.Module:
            width = channels // num_heads
            return nn.LayerNorm(width, eps=1e-6, **layer) if qk_norm else nn.Identity()

        self.num_heads = num_heads
        self.attn_dropout = nn.Dropout(attn_dropout, rngs=rngs)
        self.qkv = linear(channels, 3 * channels, bias=qkv_bias, **layer)
        self.q_norm = norm()
        self.k_norm = norm()
        self.proj = linear(channels, channels, **layer)
        self.proj_dropout = nn.Dropout(proj_dropout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        n, length, channels = x.shape
        qkv = self.qkv(x).reshape(n, length, 3, self.num_heads, -1)
        queries, keys, values = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        attended = nn.scaled_dot_product_attention(
            self.q_norm(queries), self.k_norm(keys), values, dropout=self.attn_dropout
        )
        return self.proj_dropout(self.proj(attended.reshape(n, length, channels)))


class LayerScale(nnx.Module):
    """A learned factor of each channel.

    Args:
        channels: width of the input, and of the output.
        initial: value of the factors.

    Shape: (..., C) -> (..., C)
    """

    def __init__(
        self,
        channels: int,
        initial: float,
        *,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.dtype = dtype
        constant = nn.initializers.constant(initial)
        self.gamma = nnx.Param(constant(rngs.params(), (channels,), param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        x, gamma = nn.promote(self.dtype, x, self.gamma)
        return x * gamma


class ViTBlock(nnx.Module):
    """A transformer block with its norms in front: attention, then a two-layer network.

    Args:
        channels: width of the tokens.
        mlp_ratio: the network is so many times as wide inside.
        init_values: initial value of the factors of both branches; None for no factors.
        proj_dropout: on the output of the attention, and in the network.
        drop_path: the part of the samples whose branches are dropped in training.
        **attention: the other options of ViTAttention.

    Shape: (N, L, C) -> (N, L, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        mlp_ratio: float,
        init_values: float | None,
        proj_dropout: float,
        drop_path: float,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
        **attention,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}

        def scale() -> nnx.Module:
            if init_values is None:
                return nn.Identity()
            return LayerScale(channels, init_values, **layer)

        hidden = int(channels * mlp_ratio)
        self.norm1 = nn.LayerNorm(channels, eps=1e-6, **layer)
        self.attn = ViTAttention(channels, proj_dropout=proj_dropout, **attention, **layer)
        self.ls1 = scale()
        self.norm2 = nn.LayerNorm(channels, eps=1e-6, **layer)
        self.mlp = TransformerMLP(channels, hidden, dropout=proj_dropout, **layer)
        self.ls2 = scale()
        self.drop_path = nn.DropPath(drop_path, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class VisionTransformer(nnx.Module):
    """A stack of transformer blocks over the patches of an image, and a class token.

    "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", Dosovitskiy et
    al., ICLR 2021; with distilled "Training data-efficient image transformers & distillation
    through attention" (DeiT), Touvron et al., ICML 2021.

    Args:
        img_size: height and width of the images.
        patch_size: height and width of a patch; what remains of the image is left out.
        in_channels: channels of the images.
        num_classes: outputs of the classifier; 0 for none, which gives the pooled features.
        embed_dim: width of the tokens; divisible by num_heads.
        depth: how many blocks.
        num_heads: heads of the attention.
        mlp_ratio: the blocks' two-layer networks are so many times as wide inside.
        qkv_bias: biases of queries, keys and values.
        qk_norm: layer norms of the queries and the keys of each head.
        init_values: initial value of the factors of the blocks' branches; None for no factors.
        class_token: whether there is one; pool "token" needs it.
        reg_tokens: register tokens behind the class token.
        no_embed_class: only the patches have positions (DeiT III).
        pre_norm: a norm before the blocks, and no bias of the patches' map (CLIP).
        pool: "token" takes the class token, "avg" the mean of the patches.
        distilled: a second token with a classifier of its own; the outputs are averaged.
        dropout: on the pooled features.
        pos_dropout: on the tokens.
        proj_dropout: on the output of the attentions, and in the two-layer networks.
        attn_dropout: on the attention weights.
        drop_path: the part of the samples whose branches are dropped in training, growing from
            block to block up to this.
        features_only: a call gives what stage_features gives; there is no classifier.

    Shape: (N, H, W, in_channels) -> (N, num_classes), or (N, embed_dim)
    """

    def __init__(
        self,
        *,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        init_values: float | None = None,
        class_token: bool = True,
        reg_tokens: int = 0,
        no_embed_class: bool = False,
        pre_norm: bool = False,
        pool: str = "token",
        distilled: bool = False,
        dropout: float = 0.0,
        pos_dropout: float = 0.0,
        proj_dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        features_only: bool = False,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, in_channels=in_channels, patch_size=patch_size, depth=depth)
        checks.positive(self, embed_dim=embed_dim, mlp_ratio=mlp_ratio)
        checks.divisible(self, by="num_heads", num_heads=num_heads, embed_dim=embed_dim)
        checks.choice(self, ("token", "avg"), pool=pool)
        if pool == "token" and not class_token:
            checks.fail(self, "pool 'token' needs the class token")
        if distilled and (pool != "token" or reg_tokens):
            checks.fail(self, "distilled needs pool 'token' and no register tokens")
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        checks.length(self, 2, img_size=self.img_size)
        grid = [size // patch_size for size in self.img_size]
        checks.positive(self, grid_height=grid[0], grid_width=grid[1])
        self.grid = tuple(grid)
        self.no_embed_class = no_embed_class
        self.pool = pool
        self.distilled = distilled
        self.features_only = features_only
        self.dtype = dtype
        self.prefix_tokens = class_token + distilled + reg_tokens
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}

        def token(count: int, std: float) -> nnx.Param:
            initial = nn.initializers.trunc_normal(std)
            return nnx.Param(initial(rngs.params(), (1, count, embed_dim), param_dtype))

        self.cls_token = token(1, 1e-6) if class_token else None
        self.dist_token = token(1, 0.02) if distilled else None
        self.reg_token = token(reg_tokens, 1e-6) if reg_tokens else None
        positions = grid[0] * grid[1] + (0 if no_embed_class else self.prefix_tokens)
        self.pos_embed = token(positions, 0.02)
        shape: dict[str, Any] = {"patch_size": patch_size, "bias": not pre_norm}
        self.patch_embed = PatchEmbedding(in_channels, embed_dim, **shape, **layer)
        self.pos_dropout = nn.Dropout(pos_dropout, rngs=rngs)
        self.norm_pre = nn.LayerNorm(embed_dim, eps=1e-6, **layer) if pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(
            ViTBlock(
                embed_dim,
                mlp_ratio=mlp_ratio,
                init_values=init_values,
                proj_dropout=proj_dropout,
                drop_path=rate,
                num_heads=num_heads,
                qkv_bias=qkv_bias,
                qk_norm=qk_norm,
                attn_dropout=attn_dropout,
                **layer,
            )
            for rate in constants.drop_path_rates(drop_path, depth)
        )
        if not features_only:
            norm = nn.LayerNorm(embed_dim, eps=1e-6, **layer)
            self.norm = norm if pool == "token" else nn.Identity()
            self.fc_norm = nn.Identity() if pool == "token" else norm
            self.dropout = nn.Dropout(dropout, rngs=rngs)
            widths = (embed_dim, num_classes)
            self.head = linear(*widths, **layer) if num_classes else nn.Identity()
            if distilled:
                self.head_dist = linear(*widths, **layer) if num_classes else nn.Identity()

    def tokens(self, x: jax.Array) -> jax.Array:
        """What the blocks begin with: the patches behind the prefix tokens, with positions."""
        checks.sizes(self, self.img_size, x=x.shape[1:3])
        tokens = (self.cls_token, self.dist_token, self.reg_token)
        x, positions, *tokens = nn.promote(self.dtype, x, self.pos_embed, *tokens)
        x = self.patch_embed(x)
        x = x.reshape(len(x), -1, x.shape[-1])
        if self.no_embed_class:
            x = x + positions
        prefix = [
            jnp.broadcast_to(one, (len(x), *one.shape[1:])) for one in tokens if one is not None
        ]
        x = jnp.concatenate([*prefix, x], 1)
        if not self.no_embed_class:
            x = x + positions
        return self.norm_pre(self.pos_dropout(x))

    def pooled(self, x: jax.Array) -> list[jax.Array]:
        """The features of each classifier."""
        x = self.tokens(x)
        for block in self.blocks:
            x = block(x)
        if self.pool == "avg":
            pooled = [self.fc_norm(x[:, self.prefix_tokens :].mean(1))]
        else:
            x = self.norm(x)
            pooled = [x[:, index] for index in range(1 + self.distilled)]
        return [self.dropout(one) for one in pooled]

    def stage_features(self, x: jax.Array) -> list[jax.Array]:
        """The patches behind each block, as maps (N, rows, columns, embed_dim)."""
        x = self.tokens(x)
        features = []
        for block in self.blocks:
            x = block(x)
            patches = x[:, self.prefix_tokens :]
            features.append(patches.reshape(len(x), *self.grid, x.shape[-1]))
        return features

    def logits_pair(self, x: jax.Array) -> list[jax.Array]:
        """With distilled: the outputs of the class token and of the distillation token."""
        class_features, distillation_features = self.pooled(x)
        return [self.head(class_features), self.head_dist(distillation_features)]

    def __call__(self, x: jax.Array) -> jax.Array | list[jax.Array]:
        if self.features_only:
            return self.stage_features(x)
        if self.distilled:
            return sum(self.logits_pair(x)) / 2
        return self.head(self.pooled(x)[0])
