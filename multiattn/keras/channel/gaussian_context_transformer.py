from keras import ops

from multiattn import checks
from multiattn.keras import nn


class GaussianContextTransformer(nn.Module):
    """Gaussian context transformer: damps the channels whose means are far from the average.

    "Gaussian Context Transformer", Ruan et al., CVPR 2021.

    Args:
        c: standard deviation of the Gaussian.
        learnable: the deviation is learned instead, between beta and alpha + beta.
        alpha: see learnable.
        beta: see learnable.
        eps: added to the variance over the channels.
        form: "std", or "factor" for a formula in circulation, in which c is a factor.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        c: float = 2.0,
        learnable: bool = False,
        alpha: float = 3.0,
        beta: float = 1.0,
        eps: float = 1e-5,
        form: str = "std",
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, c=c)
        checks.choice(self, ("std", "factor"), form=form)
        self.c = c
        self.learnable = learnable
        self.alpha = alpha
        self.beta = beta
        self.eps = eps
        self.form = form

    def setup(self, shape):
        self.theta = (
            self.add_weight(name="theta", shape=(1,), initializer=nn.initializers.zeros)
            if self.learnable
            else None
        )

    def call(self, x):
        c = self.c if self.theta is None else self.alpha * nn.sigmoid(self.theta) + self.beta
        context = ops.mean(x, (1, 2), keepdims=True)
        context = context - ops.mean(context, -1, keepdims=True)
        variance = ops.mean(ops.square(context), -1, keepdims=True)
        context = context * ops.rsqrt(variance + self.eps)
        precision = 1 / c**2 if self.form == "std" else c
        return x * ops.exp(-0.5 * precision * ops.square(context))
