import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class DenseRelativeLocalization(nnx.Module):
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
        rngs: its stream "dropout" draws the points.

    Shape:
        x (N, H, H, C), and optionally two lists of points (N, M, 2), integers (row, column),
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
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, num_samples=num_samples)
        checks.choice(self, ("l1", "ce", "cbr"), mode=mode)
        if feat_size is not None:
            checks.positive(self, feat_size=feat_size)
        self.num_samples = num_samples
        self.mode = mode
        self.feat_size = feat_size
        self.use_abs = use_abs
        self.normalize = normalize
        self.dtype = dtype
        self.rngs = rngs["dropout"].fork()
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.layers = nn.Sequential(
            nn.Linear(2 * channels, 512, **layer),
            nn.relu,
            nn.Linear(512, 512, **layer),
            nn.relu,
            nn.Linear(512, 2 if mode == "l1" else 512, **layer),
        )
        if mode != "l1":
            if feat_size is None:
                checks.fail(self, f"mode {mode!r} needs feat_size")
            bins = feat_size if use_abs else 2 * feat_size - 1
            self.unshared = nn.ModuleList(nn.Linear(512, bins, **layer) for _ in range(2))

    def __call__(
        self, x: jax.Array, points_a: jax.Array | None = None, points_b: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        x = nn.promote(self.dtype, x)
        n, height, width, channels = x.shape
        size = self.feat_size or height
        checks.sizes(self, (size, size), x=(height, width))
        points_a, points_b = (
            jax.random.randint(self.rngs(), (n, self.num_samples, 2), 0, height)
            if points is None
            else points.astype(int)
            for points in (points_a, points_b)
        )
        shape = (n, points_a.shape[1], 2)
        checks.sizes(self, shape, points_a=points_a.shape, points_b=points_b.shape)
        points = jnp.stack([points_a, points_b], 2)  # (N, M, 2, 2)
        images = jnp.arange(n)[:, None, None]
        pairs = x[images, points[..., 0], points[..., 1]].reshape(-1, 2 * channels)
        prediction = self.layers(pairs)
        if self.mode != "l1":
            prediction = jnp.stack([axis(prediction) for axis in self.unshared], -1)
        distances = (points_a - points_b).reshape(-1, 2)
        target = jnp.abs(distances) if self.use_abs else distances + (height - 1)
        target = target.astype(prediction.dtype)
        if self.normalize:
            target = target / ((height - 1) * (1 if self.use_abs else 2))
        return prediction, target

    def loss(
        self, x: jax.Array, points_a: jax.Array | None = None, points_b: jax.Array | None = None
    ) -> jax.Array:
        """The mean loss of the predicted distances, a scalar."""
        prediction, target = self(x, points_a, points_b)
        if self.mode == "l1":
            return jnp.abs(prediction - target).mean()
        if self.mode == "ce":
            scores = nn.log_softmax(prediction, 1)
            return -2 * jnp.take_along_axis(scores, target.astype(int)[:, None], 1).mean()
        weights = nn.softmax(prediction, 1)
        values = jnp.arange(prediction.shape[1], dtype=prediction.dtype)[:, None]
        mean = (values * weights).sum(1)
        variance = (jnp.square(values - mean[:, None]) * weights).sum(1) + 1e-8
        return (jnp.square(mean - target) / variance + 0.001 * jnp.log(variance)).mean(0).sum()
