"""ResNet as a trunk: what the classic segmentation networks stand on.

He et al. 2015, "Deep Residual Learning for Image Recognition", https://arxiv.org/abs/1512.03385; the stride of a
bottleneck is in its 3x3 convolution, as has become usual. Where a finer last map is wanted, strides of the last stages
become dilations: Yu et al. 2017, "Dilated Residual Networks", https://arxiv.org/abs/1705.09914. ResNet-50 has 23.5 M
parameters without its classifier. Weights start untrained; a trunk that was trained on ImageNet comes from elsewhere
(``--teacher smp:...``).
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.blocks import Bottleneck, conv_bn, scaled
from edgeseg.errors import NetworkError

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
EXPANSION = 4


class ResNet(nn.Module):
    """Images (N, 3, H, W) to the maps of four stages, at strides 4, 8, 16 and 32, none beyond ``stride``.

    ``channels`` holds how many each map has, 256, 512, 1024 and 2048 times ``width``; ``strides`` where they are.
    """

    def __init__(self, depth: int, width: float, stride: int) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise NetworkError(f"a ResNet here has a depth of {' or '.join(map(str, BLOCKS))}, got {depth!r}")
        planes = [scaled(c, width) for c in (64, 128, 256, 512)]
        self.channels = [EXPANSION * c for c in planes]
        self.strides = [min(s, stride) for s in (4, 8, 16, 32)]
        self.stem = nn.Sequential(conv_bn(3, planes[0], 7, 2), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList()
        inputs, reached, dilation = planes[0], 4, 1
        for i, (c, count) in enumerate(zip(planes, BLOCKS[depth], strict=True)):
            step, before = 1, dilation
            if i and reached < stride:
                step, reached = 2, 2 * reached
            elif i:
                dilation *= 2
            # The first block of a stage that no longer strides still looks at the grid of the one before.
            blocks = [Bottleneck(inputs, c, step, outputs=EXPANSION * c, dilation=before, relu=True)]
            blocks += [
                Bottleneck(EXPANSION * c, c, outputs=EXPANSION * c, dilation=dilation, relu=True)
                for _ in range(count - 1)
            ]
            self.stages.append(nn.Sequential(*blocks))
            inputs = EXPANSION * c

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(images)  # (N, C, H/4, W/4)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)
