from keras import ops

from multiattn import checks
from multiattn.keras import nn


class LightweightConv(nn.Module):
    """A depthwise convolution over tokens, one kernel for each head, of sum one by a softmax.

    "Pay Less Attention with Lightweight and Dynamic Convolutions", Wu et al., ICLR 2019.

    Args:
        kernel_size: of the kernels.
        num_heads: groups of neighbouring channels that share a kernel.
        causal: a token sees itself and those before it; otherwise it is in the kernel's middle.
        weight_softmax: whether the kernels are made of sum one.
        bias: adds a learned bias to each channel.
        weight_dropout: in training, the part of the kernels' taps that is dropped, for each token
            anew.

    Shape: (N, L, C) -> (N, L, C)
    """

    def __init__(
        self,
        kernel_size: int = 1,
        *,
        num_heads: int = 1,
        causal: bool = False,
        weight_softmax: bool = True,
        bias: bool = False,
        weight_dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, kernel_size=kernel_size)
        self.kernel_size = kernel_size
        self.num_heads = num_heads
        self.causal = causal
        self.weight_softmax = weight_softmax
        self.use_bias = bias
        self.weight_dropout = weight_dropout

    def setup(self, shape):
        channels = shape[-1]
        checks.divisible(self, by="num_heads", num_heads=self.num_heads, channels=channels)
        self.dropout = nn.Dropout(self.weight_dropout)
        self.weight = self.add_weight(
            name="weight",
            shape=(self.num_heads, 1, self.kernel_size),
            initializer=nn.initializers.xavier_uniform(),
        )
        self.bias = None
        if self.use_bias:
            initial = nn.initializers.zeros
            self.bias = self.add_weight(name="bias", shape=(channels,), initializer=initial)

    def call(self, x, training=None):
        n, length, channels = ops.shape(x)
        weight = nn.softmax(self.weight) if self.weight_softmax else self.weight
        before = self.kernel_size - 1 if self.causal else (self.kernel_size - 1) // 2
        margins = ((before, self.kernel_size - 1 - before),)
        if not training or not self.weight_dropout:
            kernels = ops.repeat(weight, channels // self.num_heads, 0)[..., None]
            # along the height: along the width TensorFlow's long kernels in bfloat16 may hang
            places = {"padding": (*margins, (0, 0)), "groups": channels}
            return nn.conv2d(x[:, :, None], kernels, self.bias, **places)[:, :, 0]
        places = ops.arange(length)[:, None] + ops.arange(self.kernel_size)
        windows = ops.take(nn.pad(x, margins), places, 1)
        shape = (n, length, self.kernel_size, self.num_heads)
        windows = ops.reshape(windows, (*shape, channels // self.num_heads))
        taps = ops.broadcast_to(ops.transpose(weight[:, 0]), shape)
        taps = self.dropout(taps, training=training)
        x = ops.reshape(ops.sum(windows * taps[..., None], 2), (n, length, channels))
        return x if self.bias is None else x + self.bias
