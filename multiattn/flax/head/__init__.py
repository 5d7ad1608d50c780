from multiattn.flax.head.attention_proposal import AttentionProposal
from multiattn.flax.head.class_specific_residual_attention import ClassSpecificResidualAttention
from multiattn.flax.head.dense_relative_localization import DenseRelativeLocalization

__all__ = [
    "AttentionProposal",
    "ClassSpecificResidualAttention",
    "DenseRelativeLocalization",
]
