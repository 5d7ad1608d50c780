from multiattn.keras.head.attention_proposal import AttentionProposal
from multiattn.keras.head.class_specific_residual_attention import ClassSpecificResidualAttention
from multiattn.keras.head.dense_relative_localization import DenseRelativeLocalization

__all__ = [
    "AttentionProposal",
    "ClassSpecificResidualAttention",
    "DenseRelativeLocalization",
]
