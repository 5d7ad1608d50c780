from keras import ops

from multiattn.keras import nn


class StripPooling(nn.Module):
    """Strip pooling: gates each position by the context of its row's and its column's means.

    "Strip Pooling: Rethinking Spatial Pooling for Scene Parsing", Hou et al., CVPR 2020.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def setup(self, shape):
        channels = shape[-1]
        self.conv1 = nn.Conv2d(channels, (3, 1), padding=(1, 0), bias=False)
        self.bn1 = nn.BatchNorm()
        self.conv2 = nn.Conv2d(channels, (1, 3), padding=(0, 1), bias=False)
        self.bn2 = nn.BatchNorm()
        self.conv3 = nn.Conv2d(channels, 1)

    def call(self, x, training=None):
        rows = self.bn1(self.conv1(ops.mean(x, 2, keepdims=True)), training=training)
        columns = self.bn2(self.conv2(ops.mean(x, 1, keepdims=True)), training=training)
        return x * nn.sigmoid(self.conv3(nn.relu(rows + columns)))
