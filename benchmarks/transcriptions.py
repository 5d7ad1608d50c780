"""Attention modules as their papers' formulas read, in PyTorch: what somebody writes in an evening.

Each has the state of the module of the same name, so that both can be shown to agree.
"""

import torch
from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """s = sigma(W2 relu(W1 z)), z the mean over all positions; x * s."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        z = nn.functional.adaptive_avg_pool2d(x, 1)
        s = torch.sigmoid(self.fc2(torch.relu(self.fc1(z))))
        return x * s.expand_as(x)


class ECA(nn.Module):
    """w = sigma(C1D_k(g(x))): a convolution of width k along the channels' means."""

    def __init__(self, channels: int):
        super().__init__()
        k = {64: 3, 128: 5, 256: 5, 512: 5}[channels]
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        g = nn.functional.adaptive_avg_pool2d(x, 1)
        w = self.conv(g.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * torch.sigmoid(w).expand_as(x)


class _ChannelGate(nn.Module):
    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // reduction)
        self.fc2 = nn.Linear(channels // reduction, channels)

    def mlp(self, pooled: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(pooled.flatten(1))))

    def forward(self, f: Tensor) -> Tensor:
        average = self.mlp(nn.functional.avg_pool2d(f, f.shape[2:]))
        largest = self.mlp(nn.functional.max_pool2d(f, f.shape[2:]))
        return torch.sigmoid(average + largest)[:, :, None, None].expand_as(f)


class _SpatialGate(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, f: Tensor) -> Tensor:
        largest = torch.max(f, 1)[0].unsqueeze(1)
        average = torch.mean(f, 1).unsqueeze(1)
        return torch.sigmoid(self.bn(self.conv(torch.cat([largest, average], 1))))


class CBAM(nn.Module):
    """F' = M_c(F) * F, F'' = M_s(F') * F'."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.channel_gate = _ChannelGate(channels, reduction)
        self.spatial_gate = _SpatialGate()

    def forward(self, f: Tensor) -> Tensor:
        f = self.channel_gate(f) * f
        return self.spatial_gate(f) * f


class _BAMChannelGate(nn.Module):
    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc_0 = nn.Linear(channels, hidden)
        self.bn_1 = nn.BatchNorm1d(hidden)
        self.fc_final = nn.Linear(hidden, channels)

    def forward(self, f: Tensor) -> Tensor:
        pooled = nn.functional.avg_pool2d(f, f.shape[2:]).flatten(1)
        gate = self.fc_final(torch.relu(self.bn_1(self.fc_0(pooled))))
        return gate.unsqueeze(2).unsqueeze(3).expand_as(f)


class _BAMSpatialGate(nn.Module):
    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, hidden, 1)
        self.bn_reduce = nn.BatchNorm2d(hidden)
        self.convs = nn.ModuleList(
            nn.Conv2d(hidden, hidden, 3, padding=4, dilation=4) for _ in range(2)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(hidden) for _ in range(2))
        self.conv_final = nn.Conv2d(hidden, 1, 1)

    def forward(self, f: Tensor) -> Tensor:
        gate = torch.relu(self.bn_reduce(self.conv_reduce(f)))
        for conv, bn in zip(self.convs, self.bns, strict=True):
            gate = torch.relu(bn(conv(gate)))
        return self.conv_final(gate).expand_as(f)


class BAM(nn.Module):
    """F + F * sigma(M_c(F) * M_s(F)), the branches combined as the authors' code does."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.channel_gate = _BAMChannelGate(channels, channels // reduction)
        self.spatial_gate = _BAMSpatialGate(channels, channels // reduction)

    def forward(self, f: Tensor) -> Tensor:
        m = torch.sigmoid(self.channel_gate(f) * self.spatial_gate(f))
        return f + f * m


class CoordAttention(nn.Module):
    """f = delta(F1([z_h, z_w])), g_h = sigma(F_h(f_h)), g_w = sigma(F_w(f_w)); x * g_h * g_w."""

    def __init__(self, channels: int, reduction: int = 32):
        super().__init__()
        hidden = max(8, channels // reduction)
        self.conv1 = nn.Conv2d(channels, hidden, 1)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv_h = nn.Conv2d(hidden, channels, 1)
        self.conv_w = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        z_h = nn.functional.adaptive_avg_pool2d(x, (h, 1))
        z_w = nn.functional.adaptive_avg_pool2d(x, (1, w)).permute(0, 1, 3, 2)
        f = self.bn1(self.conv1(torch.cat([z_h, z_w], dim=2)))
        f = f * (nn.functional.relu6(f + 3) / 6)
        f_h, f_w = torch.split(f, [h, w], dim=2)
        g_h = torch.sigmoid(self.conv_h(f_h))
        g_w = torch.sigmoid(self.conv_w(f_w.permute(0, 1, 3, 2)))
        return x * g_h.expand(n, c, h, w) * g_w.expand(n, c, h, w)


class NonLocal(nn.Module):
    """z = W_z softmax(theta(x) phi(x)) g(x) + x, with keys and values pooled."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = channels // 2
        self.theta = nn.Conv2d(channels, hidden, 1)
        self.phi = nn.Conv2d(channels, hidden, 1)
        self.g = nn.Conv2d(channels, hidden, 1)
        self.W = nn.Conv2d(hidden, channels, 1)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        pool = nn.functional.max_pool2d
        theta = self.theta(x).flatten(2).permute(0, 2, 1)
        phi = pool(self.phi(x), 2).flatten(2)
        g = pool(self.g(x), 2).flatten(2).permute(0, 2, 1)
        y = torch.matmul(torch.softmax(torch.matmul(theta, phi), dim=-1), g)
        y = y.permute(0, 2, 1).contiguous().view(n, -1, h, w)
        return self.bn(self.W(y)) + x


class PositionAttention(nn.Module):
    """s_ji = softmax_i(B_i . C_j); E_j = alpha sum_i s_ji D_i + A_j."""

    def __init__(self, channels: int, reduction: int = 8):
        super().__init__()
        self.query_conv = nn.Conv2d(channels, channels // reduction, 1)
        self.key_conv = nn.Conv2d(channels, channels // reduction, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, a: Tensor) -> Tensor:
        n, c, h, w = a.shape
        queries = self.query_conv(a).view(n, -1, h * w).permute(0, 2, 1)
        keys = self.key_conv(a).view(n, -1, h * w)
        s = torch.softmax(torch.bmm(queries, keys), dim=-1)
        values = self.value_conv(a).view(n, -1, h * w)
        return self.gamma * torch.bmm(values, s.permute(0, 2, 1)).view(n, c, h, w) + a


class ChannelSelfAttention(nn.Module):
    """x_ji = softmax_i(max(A_i . A_j) - A_i . A_j); E_j = beta sum_i x_ji A_i + A_j."""

    def __init__(self, channels: int = 0):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, a: Tensor) -> Tensor:
        n, c, h, w = a.shape
        rows = a.view(n, c, -1)
        energy = torch.bmm(rows, rows.permute(0, 2, 1))
        energy = torch.max(energy, -1, keepdim=True)[0].expand_as(energy) - energy
        out = torch.bmm(torch.softmax(energy, dim=-1), rows).view(n, c, h, w)
        return self.gamma * out + a


def _conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class DualAttention(nn.Module):
    """Both of DANet's branches between two convolutions each, summed."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = channels // 4
        self.conv5a, self.conv5c = (_conv_norm_relu(channels, hidden) for _ in range(2))
        self.sa = PositionAttention(hidden)
        self.sc = ChannelSelfAttention()
        self.conv51, self.conv52 = (_conv_norm_relu(hidden, hidden) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv51(self.sa(self.conv5a(x))) + self.conv52(self.sc(self.conv5c(x)))


class _TripletGate(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.cat([torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)], 1)
        return x * torch.sigmoid(self.bn(self.conv(z)))


class TripletAttention(nn.Module):
    """The mean of three branches, each of which gates the map rotated another way."""

    def __init__(self, channels: int = 0):
        super().__init__()
        self.cw, self.hc, self.hw = (_TripletGate() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        over_h = self.cw(x.permute(0, 2, 1, 3).contiguous()).permute(0, 2, 1, 3).contiguous()
        over_w = self.hc(x.permute(0, 3, 2, 1).contiguous()).permute(0, 3, 2, 1).contiguous()
        return (over_h + over_w + self.hw(x)) / 3


class SimAM(nn.Module):
    """x * sigma(1 / E), 1 / E = (t - mu)^2 / (4 (variance + lambda)) + 1/2."""

    def __init__(self, channels: int = 0):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[2] * x.shape[3] - 1
        distance = (x - x.mean(dim=[2, 3], keepdim=True)).pow(2)
        variance = distance.sum(dim=[2, 3], keepdim=True) / n
        return x * torch.sigmoid(distance / (4 * (variance + 1e-4)) + 0.5)


class GAM(nn.Module):
    """F2 = M_c(F1) * F1, F3 = M_s(F2) * F2; M_c per pixel, M_s by two 7x7 convolutions."""

    def __init__(self, channels: int, reduction: int = 4):
        super().__init__()
        hidden = channels // reduction
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.conv1 = nn.Conv2d(channels, hidden, 7, padding=3, padding_mode="replicate")
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, channels, 7, padding=3, padding_mode="replicate")
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, f1: Tensor) -> Tensor:
        n, c, h, w = f1.shape
        pixels = f1.permute(0, 2, 3, 1).reshape(n, -1, c)
        mlp = self.linear2(torch.relu(self.linear1(pixels)))
        f2 = f1 * mlp.reshape(n, h, w, c).permute(0, 3, 1, 2)
        m_s = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(f2)))))
        return f2 * torch.sigmoid(m_s)


MODULES = {
    cls.__name__: cls
    for cls in (
        SqueezeExcitation,
        ECA,
        CBAM,
        BAM,
        CoordAttention,
        NonLocal,
        PositionAttention,
        ChannelSelfAttention,
        DualAttention,
        TripletAttention,
        SimAM,
        GAM,
    )
}
