from multiattn.torch.self_attention.acmix import ACmix
from multiattn.torch.self_attention.criss_cross_attention import CrissCrossAttention
from multiattn.torch.self_attention.deformable_attention import DeformableAttention
from multiattn.torch.self_attention.double_attention import DoubleAttention
from multiattn.torch.self_attention.dual_attention import (
    ChannelSelfAttention,
    DualAttention,
    PositionAttention,
)
from multiattn.torch.self_attention.efficient_attention import EfficientAttention
from multiattn.torch.self_attention.expectation_maximization_attention import (
    ExpectationMaximizationAttention,
)
from multiattn.torch.self_attention.knn_attention import KNNAttention
from multiattn.torch.self_attention.non_local import NonLocal
from multiattn.torch.self_attention.non_local_sparse_attention import NonLocalSparseAttention
from multiattn.torch.self_attention.outlook_attention import OutlookAttention
from multiattn.torch.self_attention.self_attention_image_recognition import (
    SelfAttentionImageRecognition,
)
from multiattn.torch.self_attention.self_transform import SelfTransform
from multiattn.torch.self_attention.stand_alone_self_attention import StandAloneSelfAttention

__all__ = [
    "ACmix",
    "ChannelSelfAttention",
    "CrissCrossAttention",
    "DeformableAttention",
    "DoubleAttention",
    "DualAttention",
    "EfficientAttention",
    "ExpectationMaximizationAttention",
    "KNNAttention",
    "NonLocal",
    "NonLocalSparseAttention",
    "OutlookAttention",
    "PositionAttention",
    "SelfAttentionImageRecognition",
    "SelfTransform",
    "StandAloneSelfAttention",
]
