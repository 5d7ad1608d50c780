from multiattn.torch.head.attention_proposal import AttentionProposal
from multiattn.torch.head.class_specific_residual_attention import ClassSpecificResidualAttention
from multiattn.torch.head.dense_relative_localization import DenseRelativeLocalization

__all__ = [
    "AttentionProposal",
    "ClassSpecificResidualAttention",
    "DenseRelativeLocalization",
]
