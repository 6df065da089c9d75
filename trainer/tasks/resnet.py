"""ResNet-18 and ResNet-50 for pictures of any size.

`trainer.tasks.models` makes them. Up to 64 pixels the stem is one 3 x 3 convolution, as is usual for CIFAR, and a stage
halves the picture only while at least 4 x 4 positions stay; above, it is the stem of ImageNet. After He et al., "Deep
Residual Learning for Image Recognition" (2015), the stride in the 3 x 3 convolution.

    >>> resnet50(channels=3, size=32, classes=10, norm=nn.BatchNorm2d)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Norm = Callable[[int], nn.Module]  # channels -> the layer that normalises them

_SMALL = 64  # pixels: up to here the stem of CIFAR
_LEAST = 4  # positions of a side that stay


def _convolution(inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)


class Block(nn.Module):
    """Convolutions beside a shortcut: two of 3 x 3, or as `bottleneck` 1 x 1, 3 x 3 and 1 x 1 to four times as many."""

    def __init__(self, inputs: int, width: int, *, stride: int, bottleneck: bool, norm: Norm) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            layers = [
                *(_convolution(inputs, width, kernel=1), norm(width), nn.ReLU(inplace=True)),
                *(_convolution(width, width, kernel=3, stride=stride), norm(width), nn.ReLU(inplace=True)),
                *(_convolution(width, outputs, kernel=1), norm(outputs)),
            ]
        else:
            layers = [
                *(_convolution(inputs, width, kernel=3, stride=stride), norm(width), nn.ReLU(inplace=True)),
                *(_convolution(width, outputs, kernel=3), norm(outputs)),
            ]
        self.body = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(_convolution(inputs, outputs, kernel=1, stride=stride), norm(outputs))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return result


def _resnet(
    depths: tuple[int, ...], *, bottleneck: bool, channels: int, size: int, classes: int, norm: Norm
) -> nn.Sequential:
    if size <= _SMALL:
        layers: list[nn.Module] = [_convolution(channels, 64, kernel=3), norm(64), nn.ReLU(inplace=True)]
    else:
        layers = [_convolution(channels, 64, kernel=7, stride=2), norm(64), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        size = -(-size // 4)
    inputs = 64
    for stage, depth in enumerate(depths):
        width = 64 << stage
        halve = stage > 0 and -(-size // 2) >= _LEAST
        size = -(-size // 2) if halve else size
        for block in range(depth):
            stride = 2 if halve and block == 0 else 1
            layers.append(Block(inputs, width, stride=stride, bottleneck=bottleneck, norm=norm))
            inputs = 4 * width if bottleneck else width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def resnet18(*, channels: int, size: int, classes: int, norm: Norm) -> nn.Sequential:
    return _resnet((2, 2, 2, 2), bottleneck=False, channels=channels, size=size, classes=classes, norm=norm)


def resnet50(*, channels: int, size: int, classes: int, norm: Norm) -> nn.Sequential:
    return _resnet((3, 4, 6, 3), bottleneck=True, channels=channels, size=size, classes=classes, norm=norm)
