from keras import ops

from multiattn import checks
from multiattn.keras import nn

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class NonLocal(nn.Module):
    """Non-local block: adds to each position a weighted mean over all positions.

    "Non-local Neural Networks", Wang et al., CVPR 2018.

    Args:
        inter_channels: channels of queries, keys and values; None: max(1, channels // 2).
        mode: the pairwise function: "embedded_gaussian", "gaussian", "dot_product" or
            "concatenation".
        dimension: 1 for sequences, 2 for images, 3 for videos.
        sub_sample: max-pools keys and values by two in space (time is kept).
        bn_layer: batch norm behind the last projection.

    Shape: (N, L, C), (N, H, W, C) or (N, T, H, W, C) -> the same
    """

    def __init__(
        self,
        *,
        inter_channels: int | None = None,
        mode: str = "embedded_gaussian",
        dimension: int = 2,
        sub_sample: bool = True,
        bn_layer: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.choice(
            self, ("embedded_gaussian", "gaussian", "dot_product", "concatenation"), mode=mode
        )
        checks.choice(self, (1, 2, 3), dimension=dimension)
        if inter_channels is not None:
            checks.positive(self, inter_channels=inter_channels)
        self.inter_channels = inter_channels
        self.mode = mode
        self.dimension = dimension
        self.window = ((1, 2, 2) if dimension == 3 else 2) if sub_sample else None
        self.bn_layer = bn_layer

    def setup(self, shape):
        channels = shape[-1]
        hidden = self.inter_channels or max(1, channels // 2)
        conv = CONVOLUTIONS[self.dimension]
        zeros = nn.initializers.zeros
        last = {} if self.bn_layer else {"kernel_initializer": zeros, "bias_initializer": zeros}
        self.g = conv(hidden, 1)
        if self.mode != "gaussian":
            self.theta = conv(hidden, 1)
            self.phi = conv(hidden, 1)
        if self.mode == "concatenation":
            self.concat_project = nn.Linear(1, bias=False)
            self.concat_project.build((None, 2 * hidden))
        self.W = conv(channels, 1, **last)
        self.bn = nn.BatchNorm(gamma_initializer=zeros) if self.bn_layer else nn.Identity()

    def call(self, x, training=None):
        n, *size = ops.shape(x)[:-1]

        def pool(maps):
            return maps if self.window is None else nn.max_pool(maps, self.window)

        def tokens(maps):
            return ops.reshape(maps, (n, -1, maps.shape[-1]))

        values = tokens(pool(self.g(x)))
        if self.mode == "gaussian":
            queries, keys = tokens(x), tokens(pool(x))
        else:
            queries, keys = tokens(self.theta(x)), tokens(pool(self.phi(x)))
        count = ops.cast(ops.shape(keys)[1], x.dtype)
        if self.mode == "dot_product":
            context = queries @ (ops.swapaxes(keys, 1, 2) @ values / count)
        elif self.mode == "concatenation":
            query_weight, key_weight = ops.split(self.concat_project.kernel, 2)
            scores = queries @ query_weight + ops.swapaxes(keys @ key_weight, 1, 2)
            context = nn.relu(scores) @ values / count
        else:
            context = nn.scaled_dot_product_attention(
                *(one[:, :, None] for one in (queries, keys, values)), scale=1.0
            )
        context = ops.reshape(context, (n, *size, values.shape[-1]))
        return x + self.bn(self.W(context), training=training)
