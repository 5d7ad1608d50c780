import torch.nn.functional as F
from torch import Tensor, nn


class MaxPool1d(nn.MaxPool1d):
    """torch.nn.MaxPool1d, which torch.export would bind to one length; over (N, C, L)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(
            x.unsqueeze(2),
            (1, self.kernel_size),
            (1, self.stride),
            (0, self.padding),
            (1, self.dilation),
            self.ceil_mode,
        ).squeeze(2)
