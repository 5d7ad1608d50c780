from multiattn.keras.fusion.asff import ASFF
from multiattn.keras.fusion.attentional_feature_fusion import AttentionalFeatureFusion
from multiattn.keras.fusion.feature_pyramid_transformer import FeaturePyramidTransformer
from multiattn.keras.fusion.grounding_transform import GroundingTransform
from multiattn.keras.fusion.rendering_transform import RenderingTransform
from multiattn.keras.fusion.weighted_feature_fusion import WeightedFeatureFusion

__all__ = [
    "ASFF",
    "AttentionalFeatureFusion",
    "FeaturePyramidTransformer",
    "GroundingTransform",
    "RenderingTransform",
    "WeightedFeatureFusion",
]
