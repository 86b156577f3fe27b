"""ICNet: a cascade of three resolutions, the deepest network on the smallest, whose maps are fused step by step.

Zhao et al. 2018, "ICNet for Real-Time Semantic Segmentation on High-Resolution Images",
https://arxiv.org/abs/1704.08545. The network is PSPNet50 with half of its kernels. The paper gives no count of
parameters or operations; the network that the authors published, https://github.com/hszhao/ICNet
(icnet_cityscapes_bnnomerge.prototxt), has 6,671,424 weights, 28,544 parameters of normalisations and 19 biases with 19
classes, 6,699,987 in all. This one has as many, and in training two classifiers of 7,334 parameters more; it takes
29.03 G multiply-adds at 1024 x 2048.

What differs:

* the pyramid of theirs averages 1, 2, 3 and 6 bins whatever the size of the map: windows of unequal size, for which
  ONNX has no operation. Here, beside the average of the whole map, windows of 2s + 1 pixels are averaged every s
  pixels, s = 4, 8, 16, not counting padding: 8 x 16, 4 x 8 and 2 x 4 bins at 1024 x 2048. No parameter is in them;
* where sizes are odd, maps are enlarged by 2 and cropped. Theirs wants 32 n + 1 pixels and aligns corners.

As in theirs, the middle resolution is every second pixel of the image, and the deepest branch goes on with every second
pixel of a map that the middle one also uses. Where both 1x1 convolutions of a block have a stride, every second pixel
is taken before them, which is the same: OpenVINO moves such strides up through the sum and loses its int8 (seen in
2026.4).
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.blocks import Bottleneck, conv_bn, initialise, resize_as, scaled, windows
from edgeseg.outputs import Outputs

__all__ = ["ICNet", "icnet"]


def icnet(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> ICNet:
    """ICNet, logits (N, num_classes, H/4, W/4).

    ``width`` scales all channels, rounded to multiples of 8. In training the enlarged maps of both lower resolutions
    (H/16 and H/8) are classified as well, the paper's cascade label guidance, unless ``auxiliary=False``.
    """
    return ICNet(num_classes, width, auxiliary=auxiliary)


class PyramidPooling(nn.Module):
    """The map plus its averages over windows of three sizes and over all."""

    def __init__(self) -> None:
        super().__init__()
        self.strides = (4, 8, 16)
        self.pools = nn.ModuleList([*windows(self.strides), nn.AdaptiveAvgPool2d(1)])

    def forward(self, x: Tensor) -> Tensor:
        total = x
        for pool, stride in zip(self.pools, (*self.strides, None), strict=True):
            total = total + resize_as(pool(x), x, stride)
        return total


class CascadeFusion(nn.Module):
    """Cascade feature fusion: a map at half the resolution, enlarged and smoothed, plus a projection of the finer."""

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.of_coarse = conv_bn(coarse, outputs, dilation=2, relu=False)
        self.of_fine = conv_bn(fine, outputs, 1, relu=False)
        self.relu = nn.ReLU()

    def forward(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Both at the finer resolution: the fused map (N, outputs, h, w), and the coarse one enlarged."""
        enlarged = resize_as(coarse, fine, 2)
        return self.relu(self.of_coarse(enlarged) + self.of_fine(fine)), enlarged


class ICNet(nn.Module):
    stride = 4

    def __init__(self, num_classes: int, width: float, *, auxiliary: bool) -> None:
        super().__init__()
        c32, c64, c128, c256, c512, c1024 = (scaled(c, width) for c in (32, 64, 128, 256, 512, 1024))
        self.thin = nn.MaxPool2d(1, 2)  # every second pixel

        self.high_early = nn.Sequential(conv_bn(3, c32, 3, 2), conv_bn(c32, c32, 3, 2))
        self.high_late = conv_bn(c32, c64, 3, 2)

        self.middle = nn.Sequential(
            conv_bn(3, c32, 3, 2), conv_bn(c32, c32), conv_bn(c32, c64), nn.MaxPool2d(3, 2, 1),
            _stage(c64, c32, c128, 3), self.thin, Bottleneck(c128, c64, outputs=c256, relu=True),
        )  # fmt: skip
        self.low = nn.Sequential(
            _stage(c256, c64, c256, 3), _stage(c256, c128, c512, 6, 2), _stage(c512, c256, c1024, 3, 4),
            PyramidPooling(), conv_bn(c1024, c256, 1),
        )  # fmt: skip
        self.fuse_middle = CascadeFusion(c256, c256, c128)
        self.fuse_high = CascadeFusion(c128, c64, c128)
        self.classify = nn.Conv2d(c128, num_classes, 1)
        self.auxiliary = nn.ModuleList(nn.Conv2d(c, num_classes, 1) for c in (c256, c128)) if auxiliary else None
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/4; features: low (N, 256, H/32), with middle (N, 128, H/16), and with high (N, 128, H/8)."""
        early = self.high_early(images)  # (N, 32, H/4, W/4)
        middle = self.middle(self.thin(images))  # (N, 256, H/16, W/16)
        low = self.low(self.thin(middle))  # (N, 256, H/32, W/32)
        fused_middle, low_enlarged = self.fuse_middle(low, middle)  # (N, 128, H/16, W/16)
        fused, middle_enlarged = self.fuse_high(fused_middle, self.high_late(early))  # (N, 128, H/8, W/8)
        logits = self.classify(resize_as(fused, early, 2))
        extra: tuple[Tensor, ...] = ()
        if self.training and self.auxiliary is not None:
            extra = tuple(c(x) for c, x in zip(self.auxiliary, (low_enlarged, middle_enlarged), strict=True))
        return Outputs(logits, (low, fused_middle, fused), extra)


def _stage(inputs: int, planes: int, outputs: int, count: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        *(
            Bottleneck(outputs if i else inputs, planes, outputs=outputs, dilation=dilation, relu=True)
            for i in range(count)
        ),
    )
