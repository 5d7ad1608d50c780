"""Our Keras backbones beside keras.applications, on the backend that the environment names."""

import keras
import numpy as np

from benchmarks.paired import both, emit, settings
from multiattn.bench.keras import functional, subject
from multiattn.keras import create

# Our name with the options under which it is the peer's network; the peer, and its options.
PAIRS = [
    ("resnet50", {"stride_on_1x1": True, "norm_eps": 1.001e-5}, "ResNet50", {}),
    ("resnet101", {"stride_on_1x1": True, "norm_eps": 1.001e-5}, "ResNet101", {}),
    ("convnext_tiny", {}, "ConvNeXtTiny", {"include_preprocessing": False}),
]


def main() -> None:
    given = settings()
    size = given.size or 224
    shape = (given.batch, size, size, 3)
    images = np.random.RandomState(0).standard_normal(shape).astype(np.float32)
    for name, options, peer_name, peer_options in PAIRS:
        if given.only not in name:
            continue
        row = {"ours": name, "peer": f"keras.applications.{peer_name}"}
        try:
            ours = functional(create(name, **options), [shape])
        except ValueError as error:
            emit(**row, absent=str(error))
            continue
        peer = getattr(keras.applications, peer_name)(
            weights=None, input_shape=shape[1:], classifier_activation=None, **peer_options
        )
        pair = (subject(net, [images], False) for net in (ours, functional(peer, [shape])))
        figures = both(*pair, given.seconds)
        emit(**row, departure=None, **figures)


if __name__ == "__main__":
    main()
