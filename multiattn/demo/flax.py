"""The network as Flax users write it. Run as a program, evaluates it with the saved weights."""

import sys
from pathlib import Path

import jax
from flax import nnx

from multiattn import load_weights
from multiattn.demo.data import CLASSES, WEIGHTS, evaluate
from multiattn.flax import CoordAttention


class DigitNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 16, (3, 3), rngs=rngs)
        self.bn1 = nnx.BatchNorm(16, rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), rngs=rngs)
        self.bn2 = nnx.BatchNorm(32, rngs=rngs)
        self.conv3 = nnx.Conv(32, 32, (3, 3), rngs=rngs)
        self.bn3 = nnx.BatchNorm(32, rngs=rngs)
        self.attention = CoordAttention(32, reduction=2, rngs=rngs)
        self.head = nnx.Linear(32, CLASSES, rngs=rngs)

    def features(self, x: jax.Array) -> jax.Array:
        x = nnx.silu(self.bn1(self.conv1(x)))
        x = nnx.silu(self.bn2(self.conv2(x)))
        return nnx.silu(self.bn3(self.conv3(x)))

    def classify(self, x: jax.Array) -> jax.Array:
        return self.head(x.max((1, 2)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.classify(self.attention(self.features(x)))


@nnx.jit
def probe(net: DigitNet, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    before = net.features(images)
    after = net.attention(before)
    return net.classify(after), before, after


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    net = DigitNet(nnx.Rngs(0))
    net.eval()
    load_weights(net, folder / WEIGHTS)
    parameters = sum(x.size for x in jax.tree.leaves(nnx.state(net, nnx.Param)))
    evaluate(lambda images: jax.device_get(probe(net, images)), parameters, folder / "flax.npz")
