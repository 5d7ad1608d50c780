from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """torch.nn.BatchNorm2d that can do without a scale: then it has a bias and no weight.

    Args:
        num_features: channels of the input.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.
        scale: False leaves out the weight.
    """

    def __init__(
        self, num_features: int, *, eps: float = 1e-5, momentum: float = 0.1, scale: bool = True
    ):
        super().__init__(num_features, eps=eps, momentum=momentum)
        if not scale:
            self.weight = None


class LayerNorm2d(nn.LayerNorm):
    """torch.nn.LayerNorm over the channels of (N, C, H, W), at each position."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
