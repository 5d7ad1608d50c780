"""The peers in PyTorch: timm and torchvision (``make peers``)."""

from typing import Any

import torch


def declare_operators() -> None:
    """Declares torchvision's own operators where its binary was built for another PyTorch.

    Its models need none of them, but it doesn't import without.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        boxes = "Tensor dets, Tensor scores, float iou_threshold"
        for name in ("nms", "qnms"):
            library.define(f"{name}({boxes}) -> Tensor")
        LIBRARIES.append(library)


LIBRARIES: list[Any] = []  # what is declared lasts as long as its library


def timm(name: str, **options: Any) -> torch.nn.Module:
    declare_operators()
    import timm

    return timm.create_model(name, pretrained=False, **options)


def torchvision(name: str, **options: Any) -> torch.nn.Module:
    declare_operators()
    from torchvision import models
    from torchvision.ops import StochasticDepth

    network = models.get_model(name, weights=None, **options)
    for module in network.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.0  # ours has none by default
    return network
