from keras import ops

from multiattn import checks
from multiattn.keras import nn


class CoordAttention(nn.Module):
    """Coordinate attention: gates each position by its row's and its column's context.

    "Coordinate Attention for Efficient Mobile Network Design", Hou et al., CVPR 2021.

    Args:
        reduction: the bottleneck has max(8, channels // reduction) channels.
        conv1_bias: bias of the bottleneck's convolution; the TensorFlow original has none.
        bn_scale: scale of the bottleneck's norm; the TensorFlow original has none.
        bn_eps: epsilon of the norm; 1e-3 in the TensorFlow original.
        bn_momentum: weight of a new batch in the running statistics; 1e-3 in the TensorFlow one.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        reduction: int = 32,
        conv1_bias: bool = True,
        bn_scale: bool = True,
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, reduction=reduction)
        self.reduction = reduction
        self.conv1_bias = conv1_bias
        self.bn_scale = bn_scale
        self.bn_eps = bn_eps
        self.bn_momentum = bn_momentum

    def setup(self, shape):
        channels = shape[-1]
        hidden = max(8, channels // self.reduction)
        self.conv1 = nn.Conv2d(hidden, 1, bias=self.conv1_bias)
        self.bn1 = nn.BatchNorm(eps=self.bn_eps, momentum=self.bn_momentum, scale=self.bn_scale)
        self.conv_h = nn.Conv2d(channels, 1)
        self.conv_w = nn.Conv2d(channels, 1)

    def call(self, x, training=None):
        height, width = ops.shape(x)[1:3]
        rows = ops.mean(x, 2, keepdims=True)
        columns = ops.swapaxes(ops.mean(x, 1, keepdims=True), 1, 2)
        context = self.conv1(ops.concatenate([rows, columns], 1))
        context = nn.hardswish(self.bn1(context, training=training))
        rows, columns = context[:, :height], context[:, height : height + width]
        columns = ops.swapaxes(columns, 1, 2)
        return x * nn.sigmoid(self.conv_h(rows)) * nn.sigmoid(self.conv_w(columns))
