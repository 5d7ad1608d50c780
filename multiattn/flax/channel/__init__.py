from multiattn.flax.channel.dense_implicit_attention import DenseImplicitAttention
from multiattn.flax.channel.eca import ECA
from multiattn.flax.channel.frequency_channel_attention import FrequencyChannelAttention
from multiattn.flax.channel.gated_channel_transform import GatedChannelTransform
from multiattn.flax.channel.gaussian_context_transformer import GaussianContextTransformer
from multiattn.flax.channel.global_second_order_pooling import GlobalSecondOrderPooling
from multiattn.flax.channel.linear_context_transform import LinearContextTransform
from multiattn.flax.channel.multi_scale_channel_attention import MultiScaleChannelAttention
from multiattn.flax.channel.squeeze_excitation import SqueezeExcitation
from multiattn.flax.channel.style_recalibration import StyleRecalibration

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
