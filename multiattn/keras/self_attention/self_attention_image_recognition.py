from keras import ops

from multiattn import checks
from multiattn.keras import nn


class SelfAttentionImageRecognition(nn.Module):
    """Local vector attention of SAN: a small network weighs each window's places and channels.

    "Exploring Self-attention for Image Recognition", Zhao et al., CVPR 2020.

    Args:
        mode: "pairwise" (weights from the centre's difference to each neighbour and their relative
            position, by a softmax) or "patchwise" (from the whole window at once, no softmax).
        rel_channels: of the features that the weights come from; None: channels // 16.
        out_channels: channels of the output, divisible by share; None: channels // 4.
        share: how many channels share a weight.
        kernel_size: of the windows; odd.
        stride: of the windows; 1 if patchwise.
        dilation: of the windows; 1 if patchwise.

    Shape: (N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), out_channels), H and W greater
        than dilation * (kernel_size // 2)

    Raises:
        ValueError: H or W is not greater than dilation * (kernel_size // 2).
    """

    def __init__(
        self,
        *,
        mode: str = "pairwise",
        rel_channels: int | None = None,
        out_channels: int | None = None,
        share: int = 8,
        kernel_size: int = 7,
        stride: int = 1,
        dilation: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.choice(self, ("pairwise", "patchwise"), mode=mode)
        checks.odd(self, kernel_size=kernel_size)
        checks.positive(self, stride=stride, dilation=dilation)
        if mode == "patchwise":
            checks.choice(self, (1,), stride=stride, dilation=dilation)
        self.mode = mode
        self.rel_channels = rel_channels
        self.out_channels = out_channels
        self.share = share
        self.stride = stride
        self.windows = {
            "kernel_size": kernel_size,
            "stride": stride,
            "dilation": dilation,
            "padding": dilation * (kernel_size // 2),
            "padding_mode": "reflect",
        }

    def setup(self, shape):
        channels = shape[-1]
        rel_channels = channels // 16 if self.rel_channels is None else self.rel_channels
        out_channels = channels // 4 if self.out_channels is None else self.out_channels
        checks.positive(self, rel_channels=rel_channels, out_channels=out_channels)
        checks.divisible(self, by="share", share=self.share, out_channels=out_channels)
        weights = out_channels // self.share
        self.conv1 = nn.Conv2d(rel_channels, 1)
        self.conv2 = nn.Conv2d(rel_channels, 1)
        self.conv3 = nn.Conv2d(out_channels, 1)
        if self.mode == "pairwise":
            hidden, outputs = rel_channels, weights
            self.conv_p = nn.Conv2d(2, 1)
        else:
            hidden, outputs = weights, self.windows["kernel_size"] ** 2 * weights
        self.conv_w = nn.Sequential(
            nn.BatchNorm(),
            nn.relu,
            nn.Conv2d(hidden, 1, bias=False),
            nn.BatchNorm(),
            nn.relu,
            nn.Conv2d(outputs, 1),
        )

    def differences(self, centres, neighbours):
        """Each centre minus the neighbours in its window, (N, H', W', k * k, C)."""
        centres = ops.expand_dims(centres[:, :: self.stride, :: self.stride], 3)
        return centres - nn.neighbourhoods(neighbours, **self.windows)

    def pairwise(self, x, training=None):
        """The weights of each window, (N, H', W', k * k, out_channels // share)."""
        identity = ops.eye(2, 3, dtype=x.dtype)[None]
        positions = self.conv_p(nn.affine_grid(identity, ops.shape(x)[1:3], align_corners=True))
        relations = self.differences(self.conv1(x), self.conv2(x))
        positions = self.differences(positions, positions)
        positions = ops.broadcast_to(positions, (*ops.shape(relations)[:4], 2))
        relations = ops.concatenate([relations, positions], -1)
        n, height, width, places, channels = ops.shape(relations)
        relations = ops.reshape(relations, (n, height, width * places, channels))
        weights = self.conv_w(relations, training=training)
        weights = ops.reshape(weights, (n, height, width, places, weights.shape[-1]))
        return nn.softmax(weights, 3)

    def patchwise(self, x, training=None):
        """The weights of each window, (N, H, W, k * k, out_channels // share)."""
        windows = nn.neighbourhoods(self.conv2(x), **self.windows)
        n, height, width, places, channels = ops.shape(windows)
        patches = ops.swapaxes(windows, 3, 4)
        patches = ops.reshape(patches, (n, height, width, channels * places))
        patches = ops.concatenate([self.conv1(x), patches], -1)
        weights = self.conv_w(patches, training=training)
        weights = ops.reshape(weights, (n, height, width, weights.shape[-1] // places, places))
        return ops.swapaxes(weights, 3, 4)

    def call(self, x, training=None):
        checks.larger(self, self.windows["padding"], x=ops.shape(x)[1:3])
        weigh = self.pairwise if self.mode == "pairwise" else self.patchwise
        weights = ops.expand_dims(weigh(x, training=training), 4)
        values = nn.neighbourhoods(self.conv3(x), **self.windows)
        n, height, width, places, channels = ops.shape(values)
        values = ops.reshape(values, (n, height, width, places, self.share, weights.shape[-1]))
        return ops.reshape(ops.sum(weights * values, 3), (n, height, width, channels))
