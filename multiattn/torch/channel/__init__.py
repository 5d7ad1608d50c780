from multiattn.torch.channel.dense_implicit_attention import DenseImplicitAttention
from multiattn.torch.channel.eca import ECA
from multiattn.torch.channel.frequency_channel_attention import FrequencyChannelAttention
from multiattn.torch.channel.gated_channel_transform import GatedChannelTransform
from multiattn.torch.channel.gaussian_context_transformer import GaussianContextTransformer
from multiattn.torch.channel.global_second_order_pooling import GlobalSecondOrderPooling
from multiattn.torch.channel.linear_context_transform import LinearContextTransform
from multiattn.torch.channel.multi_scale_channel_attention import MultiScaleChannelAttention
from multiattn.torch.channel.squeeze_excitation import SqueezeExcitation
from multiattn.torch.channel.style_recalibration import StyleRecalibration

__all__ = [
    "DenseImplicitAttention",
    "ECA",
    "FrequencyChannelAttention",
    "GatedChannelTransform",
    "GaussianContextTransformer",
    "GlobalSecondOrderPooling",
    "LinearContextTransform",
    "MultiScaleChannelAttention",
    "SqueezeExcitation",
    "StyleRecalibration",
]
