from multiattn.torch.norm.attentive_normalization import AttentiveNormalization
from multiattn.torch.norm.instance_enhancement_batch_norm import InstanceEnhancementBatchNorm

__all__ = [
    "AttentiveNormalization",
    "InstanceEnhancementBatchNorm",
]
