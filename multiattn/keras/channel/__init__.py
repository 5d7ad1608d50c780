from multiattn.keras.channel.dense_implicit_attention import DenseImplicitAttention
from multiattn.keras.channel.eca import ECA
from multiattn.keras.channel.frequency_channel_attention import FrequencyChannelAttention
from multiattn.keras.channel.gated_channel_transform import GatedChannelTransform
from multiattn.keras.channel.gaussian_context_transformer import GaussianContextTransformer
from multiattn.keras.channel.global_second_order_pooling import GlobalSecondOrderPooling
from multiattn.keras.channel.linear_context_transform import LinearContextTransform
from multiattn.keras.channel.multi_scale_channel_attention import MultiScaleChannelAttention
from multiattn.keras.channel.squeeze_excitation import SqueezeExcitation
from multiattn.keras.channel.style_recalibration import StyleRecalibration

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
