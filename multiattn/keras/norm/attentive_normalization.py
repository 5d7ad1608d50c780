from keras import ops
from keras.backend import result_type

from multiattn import checks
from multiattn.keras import nn

ACTIVATIONS = {"sigmoid": nn.sigmoid, "hsigmoid": nn.hardsigmoid, "softmax": nn.softmax}
GATES = (
    "sigmoid",
    "hsigmoid",
    "bn_sigmoid",
    "bn_hsigmoid",
    "bn_softmax",
    "mlp_sigmoid",
    "mlp_bn_hsigmoid",
)


class AttentiveNormalization(nn.Module):
    """Batch or group norm, whose scale and shift are mixed for each image from several.

    "Attentive Normalization", Li et al., ECCV 2020.

    Args:
        norm: "batch" or "group".
        components: how many scales and shifts are mixed; at least 2.
        groups: of the group norm; divides channels.
        gate: what the weights come from: "sigmoid", "hsigmoid", "bn_sigmoid", "bn_hsigmoid",
            "bn_softmax", "mlp_sigmoid" or "mlp_bn_hsigmoid"; one with "bn" is for norm "batch".
            None: "bn_hsigmoid" for "batch", "hsigmoid" for "group".
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        norm: str = "batch",
        components: int = 10,
        groups: int = 32,
        gate: str | None = None,
        eps: float = 1e-5,
        momentum: float = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.choice(self, ("batch", "group"), norm=norm)
        gate = gate or ("bn_hsigmoid" if norm == "batch" else "hsigmoid")
        checks.choice(self, GATES, gate=gate)
        if components < 2:
            checks.fail(self, f"components ({components}) must be at least 2")
        if norm == "group" and "bn" in gate:
            checks.fail(self, f"gate ({gate!r}) needs norm 'batch'")
        self.kind = norm
        self.gate = gate
        self.components = components
        self.groups = groups
        self.eps = eps
        self.momentum = momentum

    def setup(self, shape):
        channels = shape[-1]
        if self.kind == "batch":
            self.norm = nn.BatchNorm(eps=self.eps, momentum=self.momentum, scale=False, bias=False)
        else:
            checks.divisible(self, by="groups", groups=self.groups, channels=channels)
            self.norm = nn.GroupNorm(self.groups, eps=self.eps, affine=False)
        *layers, activation = self.gate.split("_")
        self.activation = ACTIVATIONS[activation]
        self.attention = nn.Sequential()
        components = self.components
        widths = (2 * components, components) if "mlp" in layers else (components,)
        for outputs in widths:
            if len(self.attention):
                self.attention.append(nn.relu)
            self.attention.append(nn.Conv2d(outputs, 1, bias="bn" not in layers))
            if "bn" in layers:
                self.attention.append(nn.BatchNorm())
        shape = (components, channels)
        initial = nn.initializers.normal(0.1)
        self.weight_ = self.add_weight(
            name="weight_", shape=shape, initializer=lambda shape, dtype: 1 + initial(shape, dtype)
        )
        self.bias_ = self.add_weight(name="bias_", shape=shape, initializer=initial)

    def call(self, x, training=None):
        height, width = ops.shape(x)[1:3]
        count = ops.cast(height * width, result_type(x.dtype, "float32"))
        unbiased = ops.cast(count / (count - 1), x.dtype)
        mean = ops.mean(x, (1, 2), keepdims=True)
        variance = ops.mean(ops.square(x - mean), (1, 2), keepdims=True) * unbiased
        logits = self.attention(mean * ops.rsqrt(variance + 1e-3), training=training)
        mixing = self.activation(logits)
        weight, bias = ops.matmul(mixing, self.weight_), ops.matmul(mixing, self.bias_)
        return self.norm(x, training=training) * weight + bias
