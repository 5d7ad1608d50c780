from multiattn.keras.backbones.convnext import ConvNeXt
from multiattn.keras.backbones.resnet import ResNet
from multiattn.keras.backbones.swin_transformer import SwinTransformer
from multiattn.keras.backbones.vision_transformer import VisionTransformer

__all__ = [
    "ConvNeXt",
    "ResNet",
    "SwinTransformer",
    "VisionTransformer",
]
