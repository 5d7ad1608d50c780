import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class GaussianContextTransformer(nn.Module):
    """Gaussian context transformer: damps the channels whose means are far from the average.

    "Gaussian Context Transformer", Ruan et al., CVPR 2021.

    Args:
        channels: channels of the input, and of the output; need not be given.
        c: standard deviation of the Gaussian.
        learnable: the deviation is learned instead, between beta and alpha + beta.
        alpha: see learnable.
        beta: see learnable.
        eps: added to the variance over the channels.
        form: "std", or "factor" for a formula in circulation, in which c is a factor.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int | None = None,
        *,
        c: float = 2.0,
        learnable: bool = False,
        alpha: float = 3.0,
        beta: float = 1.0,
        eps: float = 1e-5,
        form: str = "std",
    ):
        super().__init__()
        checks.positive(self, c=c)
        checks.choice(self, ("std", "factor"), form=form)
        self.c = c
        self.alpha = alpha
        self.beta = beta
        self.eps = eps
        self.form = form
        self.theta = nn.Parameter(torch.zeros(1)) if learnable else None

    def forward(self, x: Tensor) -> Tensor:
        c = self.c if self.theta is None else self.alpha * torch.sigmoid(self.theta) + self.beta
        context = F.layer_norm(x.mean((2, 3)), x.shape[1:2], eps=self.eps)
        precision = 1 / c**2 if self.form == "std" else c
        gate = torch.exp(-0.5 * precision * context.square())
        return x * gate[:, :, None, None]
