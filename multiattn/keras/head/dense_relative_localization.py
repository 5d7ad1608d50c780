import keras
from keras import ops

from multiattn import checks
from multiattn.keras import nn


class DenseRelativeLocalization(nn.Module):
    """Auxiliary head that tells how far apart random pairs of tokens lie.

    "Efficient Training of Visual Transformers with Small Datasets", Liu et al., NeurIPS 2021.

    Args:
        num_samples: pairs per image, where they are drawn.
        mode: "l1" regresses the two distances; "ce" and "cbr" score each of their values, for a
            cross entropy or a variance-aware regression.
        feat_size: height, and width, of the input; needed by "ce" and "cbr".
        use_abs: the targets are absolute distances; otherwise signed ones, plus H - 1.
        normalize: divides the targets by their largest value.

    Shape:
        x (N, H, H, C), and optionally two lists of points (N, M, 2), integers (row, column),
        which are drawn at random if None -> prediction (N·M, 2), or (N·M, B, 2) for "ce" and
        "cbr", B being H with use_abs and 2H - 1 without; target (N·M, 2).

    Raises:
        ValueError: x isn't square, or not of feat_size; or points have other shapes.
    """

    def __init__(
        self,
        *,
        num_samples: int = 32,
        mode: str = "l1",
        feat_size: int | None = None,
        use_abs: bool = False,
        normalize: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, num_samples=num_samples)
        checks.choice(self, ("l1", "ce", "cbr"), mode=mode)
        if feat_size is not None:
            checks.positive(self, feat_size=feat_size)
        if mode != "l1" and feat_size is None:
            checks.fail(self, f"mode {mode!r} needs feat_size")
        self.num_samples = num_samples
        self.mode = mode
        self.feat_size = feat_size
        self.use_abs = use_abs
        self.normalize = normalize

    def setup(self, x_shape, points_a_shape=None, points_b_shape=None):
        self.seed_generator = keras.random.SeedGenerator()
        self.layers = nn.Sequential(
            nn.Linear(512),
            nn.relu,
            nn.Linear(512),
            nn.relu,
            nn.Linear(2 if self.mode == "l1" else 512),
        )
        if self.mode != "l1":
            bins = self.feat_size if self.use_abs else 2 * self.feat_size - 1
            self.unshared = nn.ModuleList([nn.Linear(bins) for _ in range(2)])

    def call(self, x, points_a=None, points_b=None, training=None):
        n, height, width, channels = ops.shape(x)
        size = self.feat_size or height
        checks.sizes(self, (size, size), x=(height, width))
        points_a, points_b = (
            keras.random.randint((n, self.num_samples, 2), 0, height, seed=self.seed_generator)
            if points is None
            else ops.cast(points, "int32")
            for points in (points_a, points_b)
        )
        shape = (n, points_a.shape[1], 2)
        checks.sizes(self, shape, points_a=points_a.shape, points_b=points_b.shape)
        points = ops.stack([points_a, points_b], 2)  # (N, M, 2, 2)
        images = ops.reshape(ops.arange(n, dtype="int32"), (-1, 1, 1))
        places = (images * height + points[..., 0]) * width + points[..., 1]
        pairs = ops.take(ops.reshape(x, (-1, channels)), places, 0)
        prediction = self.layers(ops.reshape(pairs, (-1, 2 * channels)), training=training)
        if self.mode != "l1":
            prediction = ops.stack([axis(prediction) for axis in self.unshared], -1)
        distances = ops.reshape(points_a - points_b, (-1, 2))
        target = ops.abs(distances) if self.use_abs else distances + (height - 1)
        target = ops.cast(target, prediction.dtype)
        if self.normalize:
            target = target / ops.cast((height - 1) * (1 if self.use_abs else 2), target.dtype)
        return prediction, target

    def loss(self, x, points_a=None, points_b=None, training=None):
        """The mean loss of the predicted distances, a scalar."""
        prediction, target = self(x, points_a, points_b, training=training)
        if self.mode == "l1":
            return ops.mean(ops.abs(prediction - target))
        if self.mode == "ce":
            scores = nn.log_softmax(prediction, 1)
            target = ops.expand_dims(ops.cast(target, "int32"), 1)
            return -2 * ops.mean(ops.take_along_axis(scores, target, 1))
        weights = nn.softmax(prediction, 1)
        values = ops.reshape(ops.arange(prediction.shape[1], dtype=prediction.dtype), (-1, 1))
        mean = ops.sum(values * weights, 1, keepdims=True)
        variance = ops.sum(ops.square(values - mean) * weights, 1) + 1e-8
        error = ops.square(mean[:, 0] - target) / variance
        return ops.sum(ops.mean(error + 0.001 * ops.log(variance), 0))
