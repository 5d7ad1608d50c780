import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class DenseRelativeLocalization(nn.Module):
    """Auxiliary head that tells how far apart random pairs of tokens lie.

    "Efficient Training of Visual Transformers with Small Datasets", Liu et al., NeurIPS 2021.

    Args:
        channels: channels of the input.
        num_samples: pairs per image, where they are drawn.
        mode: "l1" regresses the two distances; "ce" and "cbr" score each of their values, for a
            cross entropy or a variance-aware regression.
        feat_size: height, and width, of the input; needed by "ce" and "cbr".
        use_abs: the targets are absolute distances; otherwise signed ones, plus H - 1.
        normalize: divides the targets by their largest value.

    Shape:
        x (N, C, H, H), and optionally two lists of points (N, M, 2), integers (row, column),
        which are drawn at random if None -> prediction (N·M, 2), or (N·M, B, 2) for "ce" and
        "cbr", B being H with use_abs and 2H - 1 without; target (N·M, 2).

    Raises:
        ValueError: x isn't square, or not of feat_size; or points have other shapes.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_samples: int = 32,
        mode: str = "l1",
        feat_size: int | None = None,
        use_abs: bool = False,
        normalize: bool = False,
    ):
        super().__init__()
        checks.positive(self, channels=channels, num_samples=num_samples)
        checks.choice(self, ("l1", "ce", "cbr"), mode=mode)
        if feat_size is not None:
            checks.positive(self, feat_size=feat_size)
        self.num_samples = num_samples
        self.mode = mode
        self.feat_size = feat_size
        self.use_abs = use_abs
        self.normalize = normalize
        self.layers = nn.Sequential(
            nn.Linear(2 * channels, 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, 2 if mode == "l1" else 512),
        )
        if mode != "l1":
            if feat_size is None:
                checks.fail(self, f"mode {mode!r} needs feat_size")
            bins = feat_size if use_abs else 2 * feat_size - 1
            self.unshared = nn.ModuleList(nn.Linear(512, bins) for _ in range(2))

    def forward(
        self, x: Tensor, points_a: Tensor | None = None, points_b: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        n, _, height, width = x.shape
        size = self.feat_size or height
        checks.sizes(self, (size, size), x=(height, width))
        points_a, points_b = (
            torch.randint(height, (n, self.num_samples, 2), device=x.device)
            if points is None
            else points.long()
            for points in (points_a, points_b)
        )
        shape = (n, points_a.shape[1], 2)
        checks.sizes(self, shape, points_a=points_a.shape, points_b=points_b.shape)
        rows, columns = torch.stack([points_a, points_b], 2).unbind(-1)  # (N, M, 2)
        images = torch.arange(n, device=x.device)[:, None, None]
        pairs = x[images, :, rows, columns].flatten(2).flatten(0, 1)
        prediction = self.layers(pairs)
        if self.mode != "l1":
            prediction = torch.stack([axis(prediction) for axis in self.unshared], -1)
        distances = (points_a - points_b).flatten(0, 1)
        target = distances.abs() if self.use_abs else distances + (height - 1)
        target = target.to(prediction.dtype)
        if self.normalize:
            target = target / ((height - 1) * (1 if self.use_abs else 2))
        return prediction, target

    def loss(
        self, x: Tensor, points_a: Tensor | None = None, points_b: Tensor | None = None
    ) -> Tensor:
        """The mean loss of the predicted distances, a scalar."""
        prediction, target = self(x, points_a, points_b)
        if self.mode == "l1":
            return F.l1_loss(prediction, target)
        if self.mode == "ce":
            return 2 * F.cross_entropy(prediction, target.long())
        weights = prediction.softmax(1)
        values = torch.arange(prediction.shape[1], dtype=x.dtype, device=x.device)[:, None]
        mean = (values * weights).sum(1)
        variance = ((values - mean[:, None]).square() * weights).sum(1) + 1e-8
        return ((mean - target).square() / variance + 0.001 * variance.log()).mean(0).sum()
