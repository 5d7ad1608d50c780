from multiattn.torch.spatial.bam import BAM, BAMChannelGate, BAMSpatialGate
from multiattn.torch.spatial.cbam import CBAM, CBAMChannelGate, CBAMSpatialGate
from multiattn.torch.spatial.coord_attention import CoordAttention
from multiattn.torch.spatial.gam import GAM
from multiattn.torch.spatial.lstm2d import LSTM2D
from multiattn.torch.spatial.scse import SCSE
from multiattn.torch.spatial.shuffle_attention import ShuffleAttention
from multiattn.torch.spatial.simam import SimAM
from multiattn.torch.spatial.spatial_group_enhance import SpatialGroupEnhance
from multiattn.torch.spatial.spatial_transformer import SpatialTransformer
from multiattn.torch.spatial.strip_pooling import StripPooling
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
    "LSTM2D",
    "SCSE",
    "ShuffleAttention",
    "SimAM",
    "SpatialGroupEnhance",
    "SpatialTransformer",
    "StripPooling",
    "TripletAttention",
]
