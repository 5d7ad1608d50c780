from multiattn.torch.spatial.bam import BAM, BAMChannelGate, BAMSpatialGate
from multiattn.torch.spatial.cbam import CBAM, CBAMChannelGate, CBAMSpatialGate
from multiattn.torch.spatial.coord_attention import CoordAttention
from multiattn.torch.spatial.gam import GAM
from multiattn.torch.spatial.simam import SimAM
from multiattn.torch.spatial.spatial_transformer import SpatialTransformer
from multiattn.torch.spatial.triplet_attention import TripletAttention

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
