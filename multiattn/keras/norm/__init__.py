from multiattn.keras.norm.attentive_normalization import AttentiveNormalization
from multiattn.keras.norm.instance_enhancement_batch_norm import InstanceEnhancementBatchNorm

__all__ = [
    "AttentiveNormalization",
    "InstanceEnhancementBatchNorm",
]
