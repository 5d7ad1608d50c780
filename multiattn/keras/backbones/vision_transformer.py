from collections.abc import Sequence

from keras import ops

from multiattn import checks, constants
from multiattn.keras import nn

from .transformer import PatchEmbedding, TransformerMLP, linear


class ViTAttention(nn.Module):
    """Multi-head self-attention.

    Args:
        num_heads: heads; divides channels.
        qkv_bias: biases of queries, keys and values.
        qk_norm: layer norms of the queries and the keys of each head.
        attn_dropout: on the attention weights.
        proj_dropout: on the output.

    Shape: (N, L, C) -> (N, L, C)
    """

    def __init__(
        self,
        *,
        num_heads: int,
        qkv_bias: bool,
        qk_norm: bool,
        attn_dropout: float,
        proj_dropout: float,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.qkv_bias = qkv_bias
        self.attn_dropout = nn.Dropout(attn_dropout)
        self.q_norm = nn.LayerNorm(eps=1e-6) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(eps=1e-6) if qk_norm else nn.Identity()
        self.proj_dropout = nn.Dropout(proj_dropout)

    def setup(self, shape):
        self.qkv = linear(3 * shape[-1], bias=self.qkv_bias)
        self.proj = linear(shape[-1])

    def call(self, x, training=None):
        n, length, channels = ops.shape(x)
        qkv = ops.reshape(self.qkv(x), (n, length, 3, self.num_heads, channels // self.num_heads))
        queries, keys, values = ops.unstack(qkv, axis=2)
        attended = nn.scaled_dot_product_attention(
            self.q_norm(queries),
            self.k_norm(keys),
            values,
            dropout=self.attn_dropout,
            training=training,
        )
        x = self.proj(ops.reshape(attended, (n, length, channels)))
        return self.proj_dropout(x, training=training)


class LayerScale(nn.Module):
    """A learned factor of each channel.

    Args:
        initial: value of the factors.

    Shape: (..., C) -> (..., C)
    """

    def __init__(self, initial: float, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def setup(self, shape):
        constant = nn.initializers.constant(self.initial)
        self.gamma = self.add_weight(name="gamma", shape=shape[-1:], initializer=constant)

    def call(self, x):
        return x * self.gamma


class ViTBlock(nn.Module):
    """A transformer block with its norms in front: attention, then a two-layer network.

    Args:
        mlp_ratio: the network is so many times as wide inside.
        init_values: initial value of the factors of both branches; None for no factors.
        proj_dropout: on the output of the attention, and in the network.
        drop_path: the part of the samples whose branches are dropped in training.
        **attention: the other options of ViTAttention.

    Shape: (N, L, C) -> (N, L, C)
    """

    def __init__(
        self,
        *,
        mlp_ratio: float,
        init_values: float | None,
        proj_dropout: float,
        drop_path: float,
        **attention,
    ):
        super().__init__()

        def scale() -> nn.Module:
            return nn.Identity() if init_values is None else LayerScale(init_values)

        self.mlp_ratio = mlp_ratio
        self.norm1 = nn.LayerNorm(eps=1e-6)
        self.attn = ViTAttention(proj_dropout=proj_dropout, **attention)
        self.ls1 = scale()
        self.norm2 = nn.LayerNorm(eps=1e-6)
        self.proj_dropout = proj_dropout
        self.ls2 = scale()
        self.drop_path = nn.DropPath(drop_path)

    def setup(self, shape):
        self.mlp = TransformerMLP(int(shape[-1] * self.mlp_ratio), dropout=self.proj_dropout)

    def call(self, x, training=None):
        branch = self.ls1(self.attn(self.norm1(x), training=training))
        x = x + self.drop_path(branch, training=training)
        branch = self.ls2(self.mlp(self.norm2(x), training=training))
        return x + self.drop_path(branch, training=training)


class VisionTransformer(nn.Module):
    """A stack of transformer blocks over the patches of an image, and a class token.

    "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", Dosovitskiy et
    al., ICLR 2021; with distilled "Training data-efficient image transformers & distillation
    through attention" (DeiT), Touvron et al., ICML 2021.

    Args:
        img_size: height and width of the images.
        patch_size: height and width of a patch; what remains of the image is left out.
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

    Shape: (N, H, W, channels) -> (N, num_classes), or (N, embed_dim)
    """

    def __init__(
        self,
        *,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
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
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, patch_size=patch_size, depth=depth)
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
        self.embed_dim = embed_dim
        self.class_token = class_token
        self.reg_tokens = reg_tokens
        self.no_embed_class = no_embed_class
        self.pool = pool
        self.distilled = distilled
        self.features_only = features_only
        self.prefix_tokens = class_token + distilled + reg_tokens
        self.patch_size = patch_size
        self.num_classes = num_classes
        self.depth = depth
        self.pre_norm = pre_norm
        self.dropout_rate = dropout
        self.pos_dropout_rate = pos_dropout
        self.drop_path = drop_path
        self.block_options = {
            "mlp_ratio": mlp_ratio,
            "init_values": init_values,
            "proj_dropout": proj_dropout,
            "num_heads": num_heads,
            "qkv_bias": qkv_bias,
            "qk_norm": qk_norm,
            "attn_dropout": attn_dropout,
        }

    def setup(self, shape):
        def token(name: str, count: int, std: float):
            initial = nn.initializers.trunc_normal(std)
            size = (1, count, self.embed_dim)
            return self.add_weight(name=name, shape=size, initializer=initial)

        self.cls_token = token("cls_token", 1, 1e-6) if self.class_token else None
        self.dist_token = token("dist_token", 1, 0.02) if self.distilled else None
        self.reg_token = token("reg_token", self.reg_tokens, 1e-6) if self.reg_tokens else None
        positions = self.grid[0] * self.grid[1]
        positions += 0 if self.no_embed_class else self.prefix_tokens
        self.pos_embed = token("pos_embed", positions, 0.02)
        self.patch_embed = PatchEmbedding(
            self.embed_dim, patch_size=self.patch_size, bias=not self.pre_norm
        )
        self.pos_dropout = nn.Dropout(self.pos_dropout_rate)
        self.norm_pre = nn.LayerNorm(eps=1e-6) if self.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(
            ViTBlock(drop_path=rate, **self.block_options)
            for rate in constants.drop_path_rates(self.drop_path, self.depth)
        )
        if not self.features_only:
            norm = nn.LayerNorm(eps=1e-6)
            self.norm = norm if self.pool == "token" else nn.Identity()
            self.fc_norm = nn.Identity() if self.pool == "token" else norm
            self.dropout = nn.Dropout(self.dropout_rate)
            self.head = linear(self.num_classes) if self.num_classes else nn.Identity()
            if self.distilled:
                self.head_dist = linear(self.num_classes) if self.num_classes else nn.Identity()

    def tokens(self, x, training=None):
        """What the blocks begin with: the patches behind the prefix tokens, with positions."""
        checks.sizes(self, self.img_size, x=x.shape[1:3])
        x = self.patch_embed(x)
        x = ops.reshape(x, (-1, self.grid[0] * self.grid[1], self.embed_dim))
        positions = ops.cast(self.pos_embed, x.dtype)
        if self.no_embed_class:
            x = x + positions
        prefix = [self.cls_token, self.dist_token, self.reg_token]
        prefix = [
            ops.broadcast_to(ops.cast(one, x.dtype), (ops.shape(x)[0], *one.shape[1:]))
            for one in prefix
            if one is not None
        ]
        x = ops.concatenate([*prefix, x], 1)
        if not self.no_embed_class:
            x = x + positions
        return self.norm_pre(self.pos_dropout(x, training=training))

    def pooled(self, x, training=None):
        """The features of each classifier."""
        x = self.tokens(x, training=training)
        for block in self.blocks:
            x = block(x, training=training)
        if self.pool == "avg":
            pooled = [self.fc_norm(ops.mean(x[:, self.prefix_tokens :], 1))]
        else:
            x = self.norm(x)
            pooled = [x[:, index] for index in range(1 + self.distilled)]
        return [self.dropout(one, training=training) for one in pooled]

    @nn.method
    def stage_features(self, x, training=None):
        """The patches behind each block, as maps (N, rows, columns, embed_dim)."""
        x = self.tokens(x, training=training)
        features = []
        for block in self.blocks:
            x = block(x, training=training)
            patches = x[:, self.prefix_tokens :]
            features.append(ops.reshape(patches, (-1, *self.grid, self.embed_dim)))
        return features

    @nn.method
    def logits_pair(self, x, training=None):
        """With distilled: the outputs of the class token and of the distillation token."""
        class_features, distillation_features = self.pooled(x, training=training)
        return [self.head(class_features), self.head_dist(distillation_features)]

    def call(self, x, training=None):
        if self.features_only:
            return self.stage_features(x, training=training)
        if self.distilled:
            return sum(self.logits_pair(x, training=training)) / 2
        return self.head(self.pooled(x, training=training)[0])
