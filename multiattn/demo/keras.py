"""The network as Keras users write it. Run as a program, evaluates it with the saved weights."""

import math
import sys
from pathlib import Path

import keras
from keras import layers

from multiattn import load_weights
from multiattn.demo.data import CLASSES, SIZE, WEIGHTS, evaluate
from multiattn.keras import CoordAttention


def digit_net() -> keras.Model:
    x = images = keras.Input((SIZE, SIZE, 1))
    for number, channels in enumerate((16, 32, 32), start=1):
        x = layers.Conv2D(channels, 3, padding="same", name=f"conv{number}")(x)
        x = layers.BatchNormalization(epsilon=1e-5, name=f"bn{number}")(x)  # as PyTorch's
        x = layers.Activation("silu")(x)
    x = CoordAttention(reduction=2, name="attention")(x)
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(images, layers.Dense(CLASSES, name="head")(x))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    net = digit_net()
    load_weights(net, folder / WEIGHTS)
    attention = net.get_layer("attention")
    probe = keras.Model(net.input, [net.output, attention.input, attention.output])
    parameters = sum(math.prod(weight.shape) for weight in net.trainable_weights)
    evaluate(
        lambda images: probe.predict(images, batch_size=len(images), verbose=0),
        parameters,
        folder / "keras.npz",
    )
