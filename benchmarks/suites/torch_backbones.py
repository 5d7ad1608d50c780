"""Our PyTorch backbones beside timm's and torchvision's."""

import numpy as np
import torch
from torch import nn

from benchmarks import peers
from benchmarks.paired import both, departure, emit, settings
from multiattn import LoadError, port
from multiattn.bench.torch import subject
from multiattn.torch import create

PEERS = {"timm": peers.timm, "torchvision": peers.torchvision}

# Our name; the peer, and its name.
PAIRS = [
    ("resnet50", "timm", "resnet50"),
    ("resnet50", "torchvision", "resnet50"),
    ("convnext_tiny", "timm", "convnext_tiny"),
    ("convnext_tiny", "torchvision", "convnext_tiny"),
    ("vit_small_patch16_224", "timm", "vit_small_patch16_224"),
    ("vit_base_patch16_224", "torchvision", "vit_b_16"),
    ("swin_tiny_patch4_window7_224", "timm", "swin_tiny_patch4_window7_224"),
    ("swin_tiny_patch4_window7_224", "torchvision", "swin_t"),
]


def agreement(ours: nn.Module, peer: nn.Module, images: np.ndarray) -> float | None:
    """How far their outputs are apart with the peer's weights; None if ours doesn't take them."""
    with torch.no_grad():
        for parameter in peer.parameters():  # of which some begin as zeros
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    try:
        port(peer, ours)
    except LoadError:
        return None
    with torch.no_grad():
        return departure(*(net.eval()(torch.from_numpy(images)) for net in (ours, peer)))


def main() -> None:
    given = settings()
    size = given.size or 224
    shape = (given.batch, 3, size, size)
    images = np.random.RandomState(0).standard_normal(shape).astype(np.float32)
    for name, where, peer_name in PAIRS:
        if given.only not in name:
            continue
        row = {"ours": name, "peer": f"{where} {peer_name}"}
        try:
            ours, peer = create(name), PEERS[where](peer_name)
            apart = agreement(ours, peer, images)
            pair = subject(ours, [images], False), subject(peer, [images], False)
        except (ImportError, ValueError) as error:
            emit(**row, absent=str(error))
            continue
        emit(**row, departure=apart, **both(*pair, given.seconds))


if __name__ == "__main__":
    main()
