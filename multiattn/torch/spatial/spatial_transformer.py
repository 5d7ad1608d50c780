from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import affine_grid


class SpatialTransformer(nn.Module):
    """Spatial transformer: samples the input at a grid moved by an affine map that it predicts.

    "Spatial Transformer Networks", Jaderberg et al., NeurIPS 2015.

    Args:
        in_channels: channels of the input, and of the output.
        input_size: height and width of the input; needed by a localisation network.
        localization: the network that predicts the map: "conv", "fc", or "none" to pass the six
            numbers as the second input.
        hidden: hidden units of the localisation network; None: 32 for "conv", 20 for "fc".
        dropout: rate after the hidden units of "fc".
        output_size: height and width of the output; None: those of the input.
        align_corners: whether -1 and 1 are the centres of the outer pixels, or their outer edges.
        padding: what lies outside of the image: "zeros" or "border".
        sampler: "grid_sample", or "kevinzakka" for the TensorFlow original's rule, which
            stretches the grid by (size - 1) / (size - 2) and gives zero beyond the outer centres;
            it ignores align_corners and padding.

    Shape:
        (N, C, H, W) -> (N, C, h, w); with localization "none" a second input theta, (N, 6) or
        (N, 2, 3), rows (x, y).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        input_size: Sequence[int] | None = None,
        localization: str = "conv",
        hidden: int | None = None,
        dropout: float = 0.0,
        output_size: Sequence[int] | None = None,
        align_corners: bool = True,
        padding: str = "zeros",
        sampler: str = "grid_sample",
    ):
        super().__init__()
        checks.positive(self, in_channels=in_channels)
        checks.choice(self, ("conv", "fc", "none"), localization=localization)
        checks.choice(self, ("zeros", "border"), padding=padding)
        checks.choice(self, ("grid_sample", "kevinzakka"), sampler=sampler)
        self.localization = localization
        self.dropout = dropout
        self.output_size = output_size
        self.align_corners = align_corners
        self.padding = padding
        self.sampler = sampler
        if localization == "none":
            return
        if input_size is None:
            checks.fail(self, f"localization {localization!r} needs input_size")
        height, width = input_size
        if localization == "conv":
            height, width = (((size - 6) // 2 - 4) // 2 for size in input_size)
            if min(height, width) < 1:
                checks.fail(self, f"input_size ({tuple(input_size)}) must be at least (18, 18)")
            self.conv1 = nn.Conv2d(in_channels, 8, 7)
            self.conv2 = nn.Conv2d(8, 10, 5)
            self.fc1 = nn.Linear(10 * height * width, hidden or 32)
            self.fc2 = nn.Linear(hidden or 32, 6)
        else:
            self.fc1 = nn.Linear(in_channels * height * width, hidden or 20)
            self.fc2 = nn.Linear(hidden or 20, 6)
        nn.init.zeros_(self.fc2.weight)
        with torch.no_grad():
            self.fc2.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def localize(self, x: Tensor) -> Tensor:
        """The six numbers of the map, (N, 6), that the localisation network predicts."""
        if self.localization == "conv":
            x = F.relu(F.max_pool2d(self.conv1(x), 2))
            x = F.relu(F.max_pool2d(self.conv2(x), 2))
            return self.fc2(F.relu(self.fc1(x.flatten(1))))
        x = F.dropout(torch.tanh(self.fc1(x.flatten(1))), self.dropout, self.training)
        return torch.tanh(self.fc2(x))

    def forward(self, x: Tensor, theta: Tensor | None = None) -> Tensor:
        if theta is None:
            theta = self.localize(x)
        height, width = x.shape[2:]
        size = self.output_size or (height, width)
        legacy = self.sampler == "kevinzakka"
        grid = affine_grid(
            theta.reshape(-1, 2, 3), size, align_corners=legacy or self.align_corners
        )
        if not legacy:
            return F.grid_sample(
                x, grid, padding_mode=self.padding, align_corners=self.align_corners
            )
        inside, moved = torch.ones_like(grid[..., 0], dtype=torch.bool), []
        for coordinate, last in zip(grid.unbind(-1), (width - 1, height - 1), strict=True):
            pixel = 0.5 * (coordinate + 1) * (last - 1)
            inside = inside & (pixel >= 0) & (pixel < last)
            moved.append(2 * pixel / max(last, 1) - 1)
        return F.grid_sample(x, torch.stack(moved, -1), align_corners=True) * inside[:, None]
