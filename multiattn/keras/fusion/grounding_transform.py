from keras import ops

from multiattn import checks
from multiattn.keras import nn


class GroundingTransform(nn.Module):
    """FPT's grounding transformer: each position of a fine map attends to a coarser map.

    "Feature Pyramid Transformer", Zhang et al., ECCV 2020.

    Args:
        inner_channels: channels of queries, keys and values; None: channels // 2.
        mode: the pairwise function: "dot", "embedded" (softmax), "gaussian" (softmax over the
            inputs themselves) or "concatenate".

    Shape: low (N, H, W, C), high (N, h, w, C) -> (N, H, W, C)
    """

    # what makes the convolutions: a network may have others for its own initial values
    convolution = nn.Conv2d

    def __init__(self, *, inner_channels: int | None = None, mode: str = "dot", **kwargs):
        super().__init__(**kwargs)
        checks.choice(self, ("dot", "embedded", "gaussian", "concatenate"), mode=mode)
        self.inner_channels = inner_channels
        self.mode = mode

    def setup(self, low_shape, high_shape):
        channels = low_shape[-1]
        checks.sizes(self, (channels,), high=high_shape[-1:])
        hidden = channels // 2 if self.inner_channels is None else self.inner_channels
        checks.positive(self, inner_channels=hidden)
        self.g = self.convolution(hidden, 1)
        if self.mode != "gaussian":
            self.theta = self.convolution(hidden, 1)
            self.phi = self.convolution(hidden, 1)
        if self.mode == "concatenate":
            self.W_f = nn.Linear(1)
            self.W_f.build((None, 2 * hidden))
        self.W_z = nn.Sequential(
            self.convolution(channels, 1),
            nn.BatchNorm(gamma_initializer=nn.initializers.zeros),
        )

    def call(self, low, high, training=None):
        def tokens(maps):
            return ops.reshape(maps, (ops.shape(maps)[0], -1, maps.shape[-1]))

        values = tokens(self.g(high))
        if self.mode == "gaussian":
            queries, keys = tokens(low), tokens(high)
        else:
            queries, keys = tokens(self.theta(low)), tokens(self.phi(high))
        count = ops.cast(ops.shape(keys)[1], keys.dtype)
        if self.mode == "dot":
            context = queries @ (ops.swapaxes(keys, 1, 2) @ values / count)
        elif self.mode == "concatenate":
            query_weight, key_weight = ops.split(self.W_f.kernel, 2)
            scores = queries @ query_weight + ops.swapaxes(keys @ key_weight, 1, 2)
            context = nn.relu(scores + self.W_f.bias) @ values / count
        else:
            context = nn.scaled_dot_product_attention(
                *(one[:, :, None] for one in (queries, keys, values)), scale=1.0
            )
        context = ops.reshape(context, (*ops.shape(low)[:3], values.shape[-1]))
        return self.W_z(context, training=training)
