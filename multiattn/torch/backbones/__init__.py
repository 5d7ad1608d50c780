from multiattn.torch.backbones.convnext import ConvNeXt
from multiattn.torch.backbones.resnet import ResNet
from multiattn.torch.backbones.swin_transformer import SwinTransformer
from multiattn.torch.backbones.vision_transformer import VisionTransformer

__all__ = [
    "ConvNeXt",
    "ResNet",
    "SwinTransformer",
    "VisionTransformer",
]
