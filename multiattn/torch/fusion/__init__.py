from multiattn.torch.fusion.asff import ASFF
from multiattn.torch.fusion.attentional_feature_fusion import AttentionalFeatureFusion
from multiattn.torch.fusion.feature_pyramid_transformer import FeaturePyramidTransformer
from multiattn.torch.fusion.grounding_transform import GroundingTransform
from multiattn.torch.fusion.rendering_transform import RenderingTransform
from multiattn.torch.fusion.weighted_feature_fusion import WeightedFeatureFusion

__all__ = [
    "ASFF",
    "AttentionalFeatureFusion",
    "FeaturePyramidTransformer",
    "GroundingTransform",
    "RenderingTransform",
    "WeightedFeatureFusion",
]
