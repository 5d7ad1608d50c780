from multiattn.keras.spatial.bam import BAM, BAMChannelGate, BAMSpatialGate
from multiattn.keras.spatial.cbam import CBAM, CBAMChannelGate, CBAMSpatialGate
from multiattn.keras.spatial.coord_attention import CoordAttention
from multiattn.keras.spatial.gam import GAM
from multiattn.keras.spatial.simam import SimAM
from multiattn.keras.spatial.spatial_transformer import SpatialTransformer
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
    "SimAM",
    "SpatialTransformer",
    "TripletAttention",
]
