from multiattn.flax.norm.attentive_normalization import AttentiveNormalization
from multiattn.flax.norm.instance_enhancement_batch_norm import InstanceEnhancementBatchNorm

__all__ = [
    "AttentiveNormalization",
    "InstanceEnhancementBatchNorm",
]
