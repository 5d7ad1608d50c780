from multiattn.keras.spatial.bam import BAM, BAMChannelGate, BAMSpatialGate
from multiattn.keras.spatial.cbam import CBAM, CBAMChannelGate, CBAMSpatialGate
from multiattn.keras.spatial.coord_attention import CoordAttention
from multiattn.keras.spatial.gam import GAM
from multiattn.keras.spatial.lstm2d import LSTM2D
from multiattn.keras.spatial.scse import SCSE
from multiattn.keras.spatial.shuffle_attention import ShuffleAttention
from multiattn.keras.spatial.simam import SimAM
from multiattn.keras.spatial.spatial_group_enhance import SpatialGroupEnhance
from multiattn.keras.spatial.spatial_transformer import SpatialTransformer
from multiattn.keras.spatial.strip_pooling import StripPooling
from multiattn.keras.spatial.triplet_attention import TripletAttention

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
