import math
from collections.abc import Sequence

from keras import ops

from multiattn import checks
from multiattn.keras import nn
from multiattn.keras.nn.common import to_tuple


class CondConv(nn.Module):
    """A convolution whose kernel is, for each image, a weighted sum of several experts' kernels.

    "CondConv: Conditionally Parameterized Convolutions for Efficient Inference", Yang et al.,
    NeurIPS 2019.

    Args:
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
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, num_experts=num_experts)
        checks.choice(self, ("internal", "external"), routing=routing)
        checks.divisible(self, by="groups", groups=groups, out_channels=out_channels)
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
        self.use_bias = bias
        self.num_experts = num_experts
        self.routing = routing

    def setup(self, x_shape, routing_weights_shape=None):
        in_channels = x_shape[-1]
        checks.divisible(self, by="groups", groups=self.groups, in_channels=in_channels)
        fan_in = in_channels // self.groups * math.prod(self.kernel_size)

        def parameter(name: str, width: int):
            return self.add_weight(
                name=name,
                shape=(self.num_experts, width),
                initializer=nn.initializers.uniform(1 / math.sqrt(fan_in)),
            )

        self.weight = parameter("weight", self.out_channels * fan_in)
        self.bias = parameter("bias", self.out_channels) if self.use_bias else None
        self.routing_fn = nn.Linear(self.num_experts) if self.routing == "internal" else None

    def call(self, x, routing_weights=None, training=None):
        if self.routing_fn is not None:
            routing_weights = nn.sigmoid(self.routing_fn(ops.mean(x, (1, 2))))
        if routing_weights is None:
            checks.fail(self, "routing 'external' needs routing_weights")
        checks.sizes(self, (self.num_experts,), routing_weights=routing_weights.shape[1:])
        weight = ops.matmul(routing_weights, self.weight)
        size = (self.out_channels, x.shape[-1] // self.groups, *self.kernel_size)
        if self.same:
            x = nn.pad_same(x, self.kernel_size, stride=self.stride, dilation=self.dilation)
        return nn.batch_conv2d(
            x,
            ops.reshape(weight, (-1, *size)),
            None if self.bias is None else ops.matmul(routing_weights, self.bias),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
