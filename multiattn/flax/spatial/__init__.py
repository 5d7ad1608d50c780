from multiattn.flax.spatial.bam import BAM, BAMChannelGate, BAMSpatialGate
from multiattn.flax.spatial.cbam import CBAM, CBAMChannelGate, CBAMSpatialGate
from multiattn.flax.spatial.coord_attention import CoordAttention
from multiattn.flax.spatial.gam import GAM
from multiattn.flax.spatial.simam import SimAM
from multiattn.flax.spatial.spatial_transformer import SpatialTransformer
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
    "SimAM",
    "SpatialTransformer",
    "TripletAttention",
]
