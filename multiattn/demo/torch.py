"""The network as PyTorch users write it. Run as a program, trains it and saves its weights."""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import save_weights
from multiattn.demo.data import CLASSES, TEST_IMAGES, WEIGHTS, Array, digits, evaluate
from multiattn.torch import CoordAttention


class DigitNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(32)
        self.attention = CoordAttention(32, reduction=2)
        self.head = nn.Linear(32, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        x = F.silu(self.bn1(self.conv1(x)))
        x = F.silu(self.bn2(self.conv2(x)))
        return F.silu(self.bn3(self.conv3(x)))

    def classify(self, x: Tensor) -> Tensor:
        return self.head(x.amax((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.attention(self.features(x)))


def train(epochs: int, batch: int = 64) -> DigitNet:
    """A trained network; tells its progress on the way."""
    torch.manual_seed(0)
    images, labels = map(torch.from_numpy, digits())
    images = images.permute(0, 3, 1, 2).contiguous()
    training = torch.arange(TEST_IMAGES, len(images))
    steps = len(training) // batch
    net = DigitNet()
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=epochs * steps)
    accuracy = 0.0
    for epoch in range(epochs):
        net.train()
        shuffled = training[torch.randperm(len(training))]
        for step, chosen in enumerate(shuffled[: steps * batch].split(batch), start=1):
            loss = F.cross_entropy(net(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            tell(epoch + step / steps, loss.item(), accuracy)
        net.eval()
        with torch.no_grad():
            hits = net(images[:TEST_IMAGES]).argmax(1) == labels[:TEST_IMAGES]
        accuracy = hits.float().mean().item()
        tell(epoch + 1, loss.item(), accuracy)
    return net


def tell(epochs: float, loss: float, accuracy: float) -> None:
    """Prints an update of the progress bar."""
    status = f"loss {loss:.3f}, accuracy {accuracy:.1%}"
    print(json.dumps({"completed": epochs, "status": status}), flush=True)


@torch.no_grad()
def probe(net: DigitNet, images: Array) -> tuple[Array, Array, Array]:
    before = net.features(torch.from_numpy(images).permute(0, 3, 1, 2))
    after = net.attention(before)
    logits = net.classify(after)
    return logits.numpy(), before.permute(0, 2, 3, 1).numpy(), after.permute(0, 2, 3, 1).numpy()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    net = train(epochs=int(sys.argv[2]))
    save_weights(net, folder / WEIGHTS)
    parameters = sum(p.numel() for p in net.parameters())
    evaluate(lambda images: probe(net, images), parameters, folder / "torch.npz")
