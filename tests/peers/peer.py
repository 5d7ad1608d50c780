"""Makes a peer's network with random weights: saves them, images, and the logits it gives.

    python tests/peers/peer.py '{"library": "timm", "name": "resnet18", "size": [64, 64]}' FOLDER

`FOLDER` gets `weights.<suffix>` and `images.npz` with `images` (N, 3, H, W) and `logits`. With
`"trained_on": [224, 224]`, timm's weights are of a network for those images, which another one, for
images of `size`, has taken.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "tensorflow"
CLASSES = 7


def values(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """A network's tensor, such that the network neither dies nor explodes."""
    if name.endswith(("running_var", "moving_variance")):
        return 0.5 + random.random(shape)
    drawn = random.standard_normal(shape)
    if name.endswith(("bias", "beta", "mean", "variable")) or "variable_" in name:
        return 0.1 * drawn
    return 1 + 0.1 * drawn if len(shape) == 1 else drawn / np.sqrt(np.prod(shape[1:]))


def in_torch(
    library: str,
    name: str,
    size: list[int],
    options: dict[str, Any],
    folder: Path,
    trained_on: list[int] | None = None,
):
    import torch
    from safetensors.torch import save_file

    from benchmarks import peers

    torch.set_default_dtype(torch.float64)
    if trained_on:
        options["img_size"] = trained_on
    if library == "timm":
        model = peers.timm(name, num_classes=CLASSES, **options)
    elif name == "VisionTransformer":
        peers.declare_operators()
        from torchvision.models import VisionTransformer

        model = VisionTransformer(num_classes=CLASSES, **options)
    else:
        model = peers.torchvision(name, num_classes=CLASSES, **options)
    random = np.random.default_rng(0)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point() and "mask" not in key:
                tensor.copy_(torch.from_numpy(values(key, tuple(tensor.shape), random)))
        weights = model.state_dict()
        if trained_on:
            fit = sys.modules[type(model).__module__].checkpoint_filter_fn
            model = peers.timm(name, num_classes=CLASSES, img_size=size)
            model.load_state_dict(fit(dict(weights), model))
        images = random.standard_normal((2, 3, *size))
        logits = model.eval()(torch.from_numpy(images)).numpy()
    if library == "timm":
        save_file(weights, folder / "weights.safetensors")
    else:
        torch.save(weights, folder / "weights.pth")
    return images, logits


def in_keras(name: str, size: list[int], options: dict[str, Any], folder: Path):
    import keras

    suffix = options.pop("suffix")
    model = getattr(keras.applications, name)(
        weights=None,
        classes=CLASSES,
        classifier_activation=None,
        input_shape=(*size, 3),
        **options,
    )
    random = np.random.default_rng(0)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if variable.name == "kernel":
            shape = (shape[-1], *shape[:-1])
        drawn = values(variable.name, shape, random)
        variable.assign(np.moveaxis(drawn, 0, -1) if variable.name == "kernel" else drawn)
    images = random.uniform(0, 255, (2, 3, *size)).astype(np.float32)
    logits = model.predict(images.transpose(0, 2, 3, 1), verbose=0)
    if suffix == ".weights.h5":
        model.save_weights(folder / "weights.weights.h5")
    else:
        model.save(folder / f"weights{suffix}")
    return images, logits


if __name__ == "__main__":
    description, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    library, options = description.pop("library"), description.pop("options", {})
    if library == "keras":
        images, logits = in_keras(**description, options=options, folder=folder)
    else:
        images, logits = in_torch(library, **description, options=options, folder=folder)
    np.savez(folder / "images.npz", images=images, logits=logits)
