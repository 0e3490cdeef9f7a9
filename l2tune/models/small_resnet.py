"""A small residual network for small images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

WIDTHS = (16, 32, 64)


def small_resnet(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """ResNet-8: the CIFAR form of He et al. (2016) with one basic block a stage, about 78,000 weights.

    It is the image classification network of MLPerf Tiny (Banbury et al., 2021). Takes images of any size from 4×4.

    Args:
        shape: (C, H, W) of an image.
        classes: K.

    Returns:
        A module of (N, C, H, W) → (N, K) logits.
    """
    stages = [_Block(before, after) for before, after in zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False)]
    return nn.Sequential(
        nn.Conv2d(shape[0], WIDTHS[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(WIDTHS[0]),
        nn.ReLU(),
        *stages,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(WIDTHS[-1], classes),
    )


class _Block(nn.Module):
    """Two 3×3 convolutions with batch norm, and a shortcut; halves the image where the width grows."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)))))
        return relu(inner + self.shortcut(x))
