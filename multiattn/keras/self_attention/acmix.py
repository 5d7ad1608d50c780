import numpy as np
from keras import ops

from multiattn import checks
from multiattn.keras import nn


class ACmix(nn.Module):
    """ACmix: local self-attention and a 3x3 convolution that share their projections, added.

    "On the Integration of Self-Attention and Convolution", Pan et al., CVPR 2022.

    Args:
        out_channels: channels of the output; divisible by num_heads.
        kernel_size: of the attention's windows; odd.
        num_heads: number of heads.
        stride: of both; divides H and W.

    Shape: (N, H, W, in_channels) -> (N, H / stride, W / stride, out_channels), H and W greater than
        kernel_size // 2

    Raises:
        ValueError: H or W is not a multiple of stride, or not greater than kernel_size // 2.
    """

    def __init__(
        self,
        out_channels: int,
        *,
        kernel_size: int = 7,
        num_heads: int = 4,
        stride: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, out_channels=out_channels, stride=stride)
        checks.divisible(self, by="num_heads", num_heads=num_heads, out_channels=out_channels)
        checks.odd(self, kernel_size=kernel_size)
        self.out_channels = out_channels
        self.num_heads = num_heads
        self.stride = stride
        self.windows = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": kernel_size // 2,
            "padding_mode": "reflect",
        }

    @property
    def input_strides(self) -> dict[str, int]:  # type: ignore[override]
        return {"x": 1, "output": self.stride}

    def setup(self, shape):
        self.head_dim = self.out_channels // self.num_heads
        half = nn.initializers.constant(0.5)
        self.rate1 = self.add_weight(name="rate1", shape=(1,), initializer=half)
        self.rate2 = self.add_weight(name="rate2", shape=(1,), initializer=half)
        self.conv1 = nn.Conv2d(self.out_channels, 1)
        self.conv2 = nn.Conv2d(self.out_channels, 1)
        self.conv3 = nn.Conv2d(self.out_channels, 1)
        self.conv_p = nn.Conv2d(self.head_dim, 1)
        self.fc = nn.Conv2d(9, 1, bias=False)
        # each place of the kernel shifts its own map there
        shifts = np.eye(9).reshape(3, 3, 9, 1).tolist()
        self.dep_conv = nn.Conv2d(
            self.out_channels,
            3,
            stride=self.stride,
            padding=1,
            groups=self.head_dim,
            bias=False,
            kernel_initializer=nn.initializers.constant(shifts),
        )

    def attend(self, queries, keys, values):
        """The attention within windows, of heads (N, H, W, heads, head_dim)."""
        n, height, width, *heads = ops.shape(keys)
        identity = ops.eye(2, 3, dtype=keys.dtype)[None]
        positions = self.conv_p(nn.affine_grid(identity, (height, width), align_corners=True))
        # the centre's own place would add the same to all scores of its window
        keys = keys - ops.expand_dims(positions, 3)
        keys, values = (
            nn.neighbourhoods(
                ops.reshape(maps, (n, height, width, self.out_channels)), **self.windows
            )
            for maps in (keys, values)
        )
        keys, values = (
            ops.reshape(maps, (*ops.shape(maps)[:4], *heads)) for maps in (keys, values)
        )
        queries = ops.expand_dims(queries[:, :: self.stride, :: self.stride], 3)
        attention = nn.softmax(ops.sum(queries * self.head_dim**-0.5 * keys, -1), 3)
        out = ops.sum(ops.expand_dims(attention, -1) * values, 3)
        return ops.reshape(out, (*ops.shape(out)[:3], self.out_channels))

    def convolve(self, heads):
        """The convolution of all queries', keys' and values' heads (N, H, W, 3 heads, head_dim)."""
        n, height, width, count, head_dim = ops.shape(heads)
        maps = ops.reshape(ops.swapaxes(heads, 3, 4), (n, height, width * head_dim, count))
        return self.dep_conv(ops.reshape(self.fc(maps), (n, height, width, 9 * head_dim)))

    def call(self, x, training=None):
        n, *size = ops.shape(x)[:3]
        checks.sizes(self, [length // self.stride * self.stride for length in size], x=size)
        checks.larger(self, self.windows["padding"], x=size)
        queries, keys, values = (
            ops.reshape(conv(x), (n, *size, self.num_heads, self.head_dim))
            for conv in (self.conv1, self.conv2, self.conv3)
        )
        attended = self.attend(queries, keys, values)
        return self.rate1 * attended + self.rate2 * self.convolve(
            ops.concatenate([queries, keys, values], 3)
        )
