from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks, constants
from multiattn.torch.nn import DropPath

from .transformer import PatchEmbedding, TransformerMLP, trunc_normal


class ViTAttention(nn.Module):
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
    ):
        super().__init__()
        self.num_heads = num_heads
        self.attn_dropout = attn_dropout
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.q_norm = nn.LayerNorm(channels // num_heads, 1e-6) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(channels // num_heads, 1e-6) if qk_norm else nn.Identity()
        self.proj = nn.Linear(channels, channels)
        self.proj_dropout = nn.Dropout(proj_dropout)

    def forward(self, x: Tensor) -> Tensor:
        n, length, channels = x.shape
        qkv = self.qkv(x).reshape(n, length, 3, self.num_heads, -1)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(
            self.q_norm(queries),
            self.k_norm(keys),
            values,
            dropout_p=self.attn_dropout if self.training else 0.0,
        )
        return self.proj_dropout(self.proj(attended.transpose(1, 2).reshape(n, length, channels)))


class LayerScale(nn.Module):
    """A learned factor of each channel.

    Args:
        channels: width of the input, and of the output.
        initial: value of the factors.

    Shape: (..., C) -> (..., C)
    """

    def __init__(self, channels: int, initial: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class ViTBlock(nn.Module):
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
        **attention,
    ):
        super().__init__()

        def scale() -> nn.Module:
            return nn.Identity() if init_values is None else LayerScale(channels, init_values)

        self.norm1 = nn.LayerNorm(channels, 1e-6)
        self.attn = ViTAttention(channels, proj_dropout=proj_dropout, **attention)
        self.ls1 = scale()
        self.norm2 = nn.LayerNorm(channels, 1e-6)
        self.mlp = TransformerMLP(channels, int(channels * mlp_ratio), dropout=proj_dropout)
        self.ls2 = scale()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class VisionTransformer(nn.Module):
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

    Shape: (N, in_channels, H, W) -> (N, num_classes), or (N, embed_dim)
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
    ):
        super().__init__()
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
        self.prefix_tokens = class_token + distilled + reg_tokens
        self.cls_token = token(1, embed_dim, 1e-6) if class_token else None
        self.dist_token = token(1, embed_dim, 0.02) if distilled else None
        self.reg_token = token(reg_tokens, embed_dim, 1e-6) if reg_tokens else None
        positions = grid[0] * grid[1] + (0 if no_embed_class else self.prefix_tokens)
        self.pos_embed = token(positions, embed_dim, 0.02)
        self.patch_embed = PatchEmbedding(
            in_channels, embed_dim, patch_size=patch_size, bias=not pre_norm
        )
        self.pos_dropout = nn.Dropout(pos_dropout)
        self.norm_pre = nn.LayerNorm(embed_dim, 1e-6) if pre_norm else nn.Identity()
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
            )
            for rate in constants.drop_path_rates(drop_path, depth)
        )
        if not features_only:
            norm = nn.LayerNorm(embed_dim, 1e-6)
            self.norm = norm if pool == "token" else nn.Identity()
            self.fc_norm = nn.Identity() if pool == "token" else norm
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(embed_dim, num_classes) if num_classes else nn.Identity()
            if distilled:
                self.head_dist = nn.Linear(embed_dim, num_classes) if num_classes else nn.Identity()
        self.apply(trunc_normal)

    def tokens(self, x: Tensor) -> Tensor:
        """What the blocks begin with: the patches behind the prefix tokens, with positions."""
        checks.sizes(self, self.img_size, x=x.shape[2:])
        x = self.patch_embed(x).flatten(1, 2)
        if self.no_embed_class:
            x = x + self.pos_embed
        prefix = [self.cls_token, self.dist_token, self.reg_token]
        prefix = [one.expand(x.shape[0], -1, -1) for one in prefix if one is not None]
        x = torch.cat([*prefix, x], 1)
        if not self.no_embed_class:
            x = x + self.pos_embed
        return self.norm_pre(self.pos_dropout(x))

    def pooled(self, x: Tensor) -> list[Tensor]:
        """The features of each classifier."""
        x = self.tokens(x)
        for block in self.blocks:
            x = block(x)
        if self.pool == "avg":
            pooled = [self.fc_norm(x[:, self.prefix_tokens :].mean(1))]
        else:
            pooled = list(self.norm(x)[:, : 1 + self.distilled].unbind(1))
        return [self.dropout(one) for one in pooled]

    def stage_features(self, x: Tensor) -> list[Tensor]:
        """The patches behind each block, as maps (N, embed_dim, rows, columns)."""
        x = self.tokens(x)
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x[:, self.prefix_tokens :].mT.unflatten(2, self.grid))
        return features

    def logits_pair(self, x: Tensor) -> list[Tensor]:
        """With distilled: the outputs of the class token and of the distillation token."""
        class_features, distillation_features = self.pooled(x)
        return [self.head(class_features), self.head_dist(distillation_features)]

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        if self.features_only:
            return self.stage_features(x)
        if self.distilled:
            return sum(self.logits_pair(x)) / 2
        return self.head(self.pooled(x)[0])


def token(count: int, channels: int, std: float) -> nn.Parameter:
    """Learned vectors that are the same for all images."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, count, channels), std=std))
