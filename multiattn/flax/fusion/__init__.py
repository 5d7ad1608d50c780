from multiattn.flax.fusion.asff import ASFF
from multiattn.flax.fusion.attentional_feature_fusion import AttentionalFeatureFusion
from multiattn.flax.fusion.feature_pyramid_transformer import FeaturePyramidTransformer
from multiattn.flax.fusion.grounding_transform import GroundingTransform
from multiattn.flax.fusion.rendering_transform import RenderingTransform
from multiattn.flax.fusion.weighted_feature_fusion import WeightedFeatureFusion

__all__ = [
    "ASFF",
    "AttentionalFeatureFusion",
    "FeaturePyramidTransformer",
    "GroundingTransform",
    "RenderingTransform",
    "WeightedFeatureFusion",
]
