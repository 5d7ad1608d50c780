from keras import ops

from multiattn import checks
from multiattn.keras import nn


class StandAloneSelfAttention(nn.Module):
    """Stand-alone self-attention: each pixel attends to its window, in place of a convolution.

    "Stand-Alone Self-Attention in Vision Models", Ramachandran et al., NeurIPS 2019.

    Args:
        out_channels: channels of the output; even, and divisible by groups.
        kernel_size: of the window; odd.
        groups: number of heads in mode "dot_product".
        bias: of the three projections; the input is padded before them.
        mode: "channel" (every channel has a softmax of its own, as in the port in general use) or
            "dot_product" (one per head, as in the paper).

    Shape: (N, H, W, in_channels) -> (N, H, W, out_channels)
    """

    def __init__(
        self,
        out_channels: int,
        *,
        kernel_size: int = 7,
        groups: int = 8,
        bias: bool = False,
        mode: str = "channel",
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.choice(self, ("channel", "dot_product"), mode=mode)
        checks.odd(self, kernel_size=kernel_size)
        checks.positive(self, out_channels=out_channels)
        checks.divisible(self, by="groups", groups=groups, out_channels=out_channels)
        if out_channels % 2:
            checks.fail(self, f"out_channels ({out_channels}) must be even")
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.num_heads = groups if mode == "dot_product" else out_channels
        self.bias = bias

    def setup(self, shape):
        k, half = self.kernel_size, self.out_channels // 2
        layer = {
            "bias": self.bias,
            "kernel_initializer": nn.initializers.kaiming_normal("fan_out"),
        }
        normal = nn.initializers.normal()
        self.rel_h = self.add_weight(name="rel_h", shape=(half, 1, 1, k, 1), initializer=normal)
        self.rel_w = self.add_weight(name="rel_w", shape=(half, 1, 1, 1, k), initializer=normal)
        self.key_conv = nn.Conv2d(self.out_channels, 1, **layer)
        self.query_conv = nn.Conv2d(self.out_channels, 1, **layer)
        self.value_conv = nn.Conv2d(self.out_channels, 1, **layer)

    def call(self, x, training=None):
        k = self.kernel_size
        padded = nn.pad(x, ((k // 2, k // 2),) * 2)
        offsets = ops.concatenate(
            [ops.broadcast_to(o, (o.shape[0], 1, 1, k, k)) for o in (self.rel_h, self.rel_w)]
        )
        offsets = ops.transpose(ops.reshape(offsets, (-1, k * k)))
        queries = ops.expand_dims(self.query_conv(x), 3)
        keys = nn.neighbourhoods(self.key_conv(padded), k) + offsets
        values = nn.neighbourhoods(self.value_conv(padded), k)
        heads = (self.num_heads, self.out_channels // self.num_heads)
        queries, keys, values = (
            ops.reshape(maps, (*ops.shape(maps)[:4], *heads)) for maps in (queries, keys, values)
        )
        attention = nn.softmax(ops.sum(queries * keys, -1), 3)
        out = ops.sum(ops.expand_dims(attention, -1) * values, 3)
        return ops.reshape(out, (*ops.shape(out)[:3], self.out_channels))
