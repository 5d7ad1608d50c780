import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn
from multiattn.flax.nn.common import to_tuple


class CondConv(nnx.Module):
    """A convolution whose kernel is, for each image, a weighted sum of several experts' kernels.

    "CondConv: Conditionally Parameterized Convolutions for Efficient Inference", Yang et al.,
    NeurIPS 2019.

    Args:
        in_channels: channels of the input; divisible by groups.
        out_channels: channels of the output; divisible by groups.
        kernel_size: of the convolution, once or per axis, as stride, padding and dilation.
        stride: of the convolution.
        padding: of the convolution; None: (stride - 1 + dilation * (kernel_size - 1)) // 2;
            "same": as in TensorFlow, the output has ceil(H / stride) rows.
        dilation: of the convolution.
        groups: of the convolution.
        bias: a bias for each expert, mixed as the kernels are.
        num_experts: how many kernels are mixed.
        routing: "internal": the experts' weights come from the pooled input; "external": they are
            the second input.

    Shape:
        (N, H, W, in_channels) -> (N, H', W', out_channels), sizes as for a convolution; external
        routing weights are (N, num_experts).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int] = 3,
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str | None = None,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = False,
        num_experts: int = 4,
        routing: str = "internal",
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, num_experts=num_experts)
        checks.choice(self, ("internal", "external"), routing=routing)
        checks.divisible(
            self, by="groups", groups=groups, in_channels=in_channels, out_channels=out_channels
        )
        if isinstance(padding, str):
            checks.choice(self, ("same",), padding=padding)
        self.same = padding == "same"
        self.kernel_size = to_tuple(kernel_size, 2)
        self.stride = to_tuple(stride, 2)
        self.dilation = to_tuple(dilation, 2)
        pairs = {"kernel_size": self.kernel_size, "stride": self.stride, "dilation": self.dilation}
        checks.length(self, 2, **pairs)
        checks.positive(self, **pairs)
        if padding is None:
            axes = zip(self.kernel_size, self.stride, self.dilation, strict=True)
            padding = [(s - 1 + d * (k - 1)) // 2 for k, s, d in axes]
        self.padding = (0, 0) if self.same else to_tuple(padding, 2)
        checks.length(self, 2, padding=self.padding)
        self.groups = groups
        self.out_channels = out_channels
        self.dtype = dtype
        fan_in = in_channels // groups * math.prod(self.kernel_size)
        initial = nn.initializers.uniform(1 / math.sqrt(fan_in))

        def parameter(width: int) -> nnx.Param:
            return nnx.Param(initial(rngs.params(), (num_experts, width), param_dtype))

        self.weight = parameter(out_channels * fan_in)
        self.bias = parameter(out_channels) if bias else None
        self.routing_fn = (
            nn.Linear(in_channels, num_experts, dtype=dtype, param_dtype=param_dtype, rngs=rngs)
            if routing == "internal"
            else None
        )

    def __call__(self, x: jax.Array, routing_weights: jax.Array | None = None) -> jax.Array:
        x, routing_weights, weight, bias = nn.promote(
            self.dtype, x, routing_weights, self.weight, self.bias
        )
        if self.routing_fn is not None:
            routing_weights = nn.sigmoid(self.routing_fn(x.mean((1, 2))))
        if routing_weights is None:
            checks.fail(self, "routing 'external' needs routing_weights")
        checks.sizes(self, weight.shape[:1], routing_weights=routing_weights.shape[1:])
        if self.same:
            x = nn.pad_same(x, self.kernel_size, stride=self.stride, dilation=self.dilation)
        weight = routing_weights @ weight
        return nn.batch_conv2d(
            x,
            weight.reshape(len(x), self.out_channels, -1, *self.kernel_size),
            None if bias is None else routing_weights @ bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
