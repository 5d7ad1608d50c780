from keras import ops

from multiattn import checks
from multiattn.keras import nn


class OutlookAttention(nn.Module):
    """Outlook attention: each position predicts how the values of its window are mixed.

    "VOLO: Vision Outlooker for Visual Recognition", Yuan et al., TPAMI 2022.

    Args:
        num_heads: number of heads.
        kernel_size: of the windows; odd.
        stride: windows are centred at every stride-th position.
        qkv_bias: bias of the values.
        attn_dropout: rate of dropout of the attention weights.
        proj_dropout: rate of dropout of the output.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        num_heads: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        qkv_bias: bool = False,
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, stride=stride)
        checks.odd(self, kernel_size=kernel_size)
        self.num_heads = num_heads
        self.kernel_size = kernel_size
        self.stride = stride
        self.qkv_bias = qkv_bias
        self.attn_dropout = attn_dropout
        self.proj_dropout = proj_dropout

    def setup(self, shape):
        channels = shape[-1]
        checks.divisible(self, by="num_heads", num_heads=self.num_heads, channels=channels)
        layer = {
            "kernel_initializer": nn.initializers.trunc_normal(0.02),
            "bias_initializer": nn.initializers.zeros,
        }
        self.scale = (channels // self.num_heads) ** -0.5
        self.v = nn.Linear(channels, bias=self.qkv_bias, **layer)
        self.attn = nn.Linear(self.kernel_size**4 * self.num_heads, **layer)
        self.attn_drop = nn.Dropout(self.attn_dropout)
        self.proj = nn.Linear(channels, **layer)
        self.proj_drop = nn.Dropout(self.proj_dropout)

    def call(self, x, training=None):
        n, *size, channels = ops.shape(x)
        places, heads = self.kernel_size**2, self.num_heads
        windows = {"padding": self.kernel_size // 2, "stride": self.stride}
        values = nn.neighbourhoods(self.v(x), self.kernel_size, **windows)
        values = ops.reshape(values, (n, -1, places, heads, channels // heads))
        centres = nn.avg_pool(x, self.stride, ceil_mode=True)
        attention = ops.reshape(self.attn(centres), (n, -1, heads, places, places))
        attention = self.attn_drop(nn.softmax(self.scale * attention), training=training)
        mixtures = ops.einsum("nmhij,nmjhd->nmhdi", attention, values)
        mixtures = ops.reshape(mixtures, (n, ops.shape(mixtures)[1], channels * places))
        x = nn.fold(mixtures, size, self.kernel_size, **windows)
        return self.proj_drop(self.proj(x), training=training)
