from multiattn.flax.spatial.bam import BAM, BAMChannelGate, BAMSpatialGate
from multiattn.flax.spatial.cbam import CBAM, CBAMChannelGate, CBAMSpatialGate
from multiattn.flax.spatial.coord_attention import CoordAttention
from multiattn.flax.spatial.gam import GAM
from multiattn.flax.spatial.lstm2d import LSTM2D
from multiattn.flax.spatial.scse import SCSE
from multiattn.flax.spatial.shuffle_attention import ShuffleAttention
from multiattn.flax.spatial.simam import SimAM
from multiattn.flax.spatial.spatial_group_enhance import SpatialGroupEnhance
from multiattn.flax.spatial.spatial_transformer import SpatialTransformer
from multiattn.flax.spatial.strip_pooling import StripPooling
from multiattn.flax.spatial.triplet_attention import TripletAttention

__all__ = [
    "BAM",
    "BAMChannelGate",
    "BAMSpatialGate",
    "CBAM",
    "CBAMChannelGate",
    "CBAMSpatialGate",
    "CoordAttention",
    "GAM",
    "LSTM2D",
    "SCSE",
    "ShuffleAttention",
    "SimAM",
    "SpatialGroupEnhance",
    "SpatialTransformer",
    "StripPooling",
    "TripletAttention",
]
