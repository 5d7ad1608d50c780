from multiattn.flax.backbones.convnext import ConvNeXt
from multiattn.flax.backbones.resnet import ResNet
from multiattn.flax.backbones.swin_transformer import SwinTransformer
from multiattn.flax.backbones.vision_transformer import VisionTransformer

__all__ = [
    "ConvNeXt",
    "ResNet",
    "SwinTransformer",
    "VisionTransformer",
]
