"""Files that peers made load in every framework, and give the peers' logits."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from flax import nnx

import multiattn.flax
import multiattn.keras
import multiattn.torch
from multiattn import catalog, load_weights
from multiattn.verify import protocol
from multiattn.verify.checks import distance
from multiattn.verify.player import Setup
from multiattn.verify.remote import Remote
from multiattn.weights import files

PEER = Path(__file__).with_name("peer.py")
VIT = {
    "patch_size": 16,
    "num_layers": 2,
    "num_heads": 3,
    "hidden_dim": 48,
    "mlp_dim": 96,
    "image_size": 64,
}
OUR_VIT = {
    "img_size": 64,
    "depth": 2,
    "num_heads": 3,
    "embed_dim": 48,
    "mlp_ratio": 2.0,
}

# What the peer makes, and the name and options of the same network here.
TORCH = [
    ({"library": "timm", "name": "resnet18", "size": [65, 83]}, "resnet18", {}),
    ({"library": "timm", "name": "resnet50", "size": [64, 64]}, "resnet50", {}),
    ({"library": "timm", "name": "seresnet18", "size": [64, 64]}, "seresnet18", {}),
    ({"library": "timm", "name": "legacy_seresnet50", "size": [64, 64]}, "legacy_seresnet50", {}),
    ({"library": "timm", "name": "convnext_atto", "size": [65, 83]}, "convnext_atto", {}),
    ({"library": "timm", "name": "convnextv2_atto", "size": [64, 64]}, "convnextv2_atto", {}),
    (
        {"library": "timm", "name": "vit_tiny_patch16_224", "size": [224, 224]},
        "vit_tiny_patch16_224",
        {},
    ),
    (
        {"library": "timm", "name": "deit_tiny_distilled_patch16_224", "size": [224, 224]},
        "deit_tiny_distilled_patch16_224",
        {},
    ),
    (
        {"library": "timm", "name": "swin_tiny_patch4_window7_224", "size": [224, 224]},
        "swin_tiny_patch4_window7_224",
        {},
    ),
    ({"library": "torchvision", "name": "resnet18", "size": [64, 64]}, "resnet18", {}),
    ({"library": "torchvision", "name": "convnext_tiny", "size": [64, 64]}, "convnext_tiny", {}),
    (
        {"library": "torchvision", "name": "VisionTransformer", "size": [64, 64], "options": VIT},
        "VisionTransformer",
        OUR_VIT,
    ),
    (
        {"library": "torchvision", "name": "swin_t", "size": [224, 224]},
        "swin_tiny_patch4_window7_224",
        {},
    ),
]
KERAS = [
    ("ResNet50", "resnet50_keras", ".weights.h5"),
    ("ResNet50", "resnet50_keras", ".h5"),
    ("ConvNeXtTiny", "convnext_tiny", ".weights.h5"),
    ("ConvNeXtTiny", "convnext_tiny", ".h5"),
]
RUNTIMES = ("torch", "keras-tensorflow", "flax")


@pytest.fixture(scope="module")
def players() -> Iterator[dict[str, Remote]]:
    made = {runtime: Remote(runtime) for runtime in RUNTIMES}
    yield made
    for player in made.values():
        player.close()


def peer_made(description: dict, folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """The peer's file, its images and its logits."""
    command = [sys.executable, str(PEER), json.dumps(description), str(folder)]
    root = PEER.parents[2]
    subprocess.run(command, check=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    (weights,) = folder.glob("weights.*")
    with np.load(folder / "images.npz") as arrays:
        return weights, arrays["images"], arrays["logits"]


def logits(
    player: Remote, name: str, options: dict, weights: Path, images: np.ndarray
) -> np.ndarray:
    """Those of our network with the weights of the file."""
    entry, published = catalog.find(name)
    tree = player.runtime.partition("-")[0]
    setup = Setup(
        f"multiattn.{tree}:{entry.name}",
        {**published, **options, "num_classes": 7},
        entry.input_widths,
        entry.inputs,
        entry.outputs,
        [True],
    )
    state, _ = files.read(weights)
    inputs = protocol.numbered("input", [images])
    player.ask(
        "make",
        {**inputs, **protocol.named("state", state)},
        setup=asdict(setup),
        dtype=str(images.dtype),
    )
    return protocol.pick_list("output", player.ask("forward", inputs)[1])[0]


def name_of(case: tuple) -> str:
    return f"{case[0]['library']}-{case[0]['name']}"


@pytest.mark.parametrize(("description", "name", "options"), TORCH, ids=map(name_of, TORCH))
def test_files_of_pytorch_give_the_peers_logits(
    description: dict, name: str, options: dict, players: dict[str, Remote], tmp_path: Path
) -> None:
    weights, images, expected = peer_made(description, tmp_path)
    assert expected.std() > 1e-3
    for runtime in RUNTIMES:
        actual = logits(players[runtime], name, options, weights, images)
        assert distance(actual, expected) < 1e-9, runtime


@pytest.mark.parametrize(
    ("name", "trained_on", "size"),
    [
        ("vit_tiny_patch16_224", [224, 224], [96, 160]),
        ("swin_tiny_patch4_window7_224", [224, 224], [160, 192]),
        ("swin_tiny_patch4_window7_224", [128, 128], [224, 224]),
    ],
)
def test_another_image_size_gives_the_logits_of_timm(
    name: str, trained_on: list[int], size: list[int], tmp_path: Path
) -> None:
    description = {"library": "timm", "name": name, "size": size, "trained_on": trained_on}
    weights, images, expected = peer_made(description, tmp_path)
    options = {"num_classes": 7, "img_size": size}
    x = images.astype(np.float32)
    for runtime, (network, call) in networks(name, options, x).items():
        load_weights(network, weights, adapt=True)
        assert distance(np.asarray(call()), expected) < 1e-5, runtime


def networks(name: str, options: dict, x: np.ndarray) -> dict[str, tuple[object, Callable]]:
    """Our network in each framework, and how it is called with these images."""
    last = x.transpose(0, 2, 3, 1)
    in_torch = multiattn.torch.create(name, **options).eval()
    in_keras = multiattn.keras.create(name, **options)
    in_keras.build(last.shape)
    in_flax = multiattn.flax.create(name, **options, rngs=nnx.Rngs(0))
    in_flax.eval()
    return {
        "torch": (in_torch, lambda: in_torch(torch.from_numpy(x)).detach()),
        "keras": (in_keras, lambda: keras.ops.convert_to_numpy(in_keras(last, training=False))),
        "flax": (in_flax, lambda: in_flax(jnp.asarray(last))),
    }


@pytest.mark.parametrize(("peer", "name", "suffix"), KERAS)
def test_files_of_keras_applications_give_its_logits(
    peer: str, name: str, suffix: str, players: dict[str, Remote], tmp_path: Path
) -> None:
    options = {"suffix": suffix}
    description = {"library": "keras", "name": peer, "size": [64, 64], "options": options}
    weights, images, expected = peer_made(description, tmp_path)
    if peer == "ConvNeXtTiny":  # which does this itself
        entry = catalog.info(name).models[name]
        mean, std = (np.reshape(v, (3, 1, 1)) for v in (entry.mean, entry.std))
        images = ((images / 255 - mean) / std).astype(np.float32)
    for runtime in RUNTIMES:
        actual = logits(players[runtime], name, {}, weights, images)
        assert distance(actual, expected) < 1e-5, runtime
