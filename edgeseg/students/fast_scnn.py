"""Fast-SCNN: strided layers shared by a detail path at H/8 and a deep path at H/32, of separable convolutions.

Poudel et al. 2019, "Fast-SCNN: Fast Semantic Segmentation Network", https://arxiv.org/abs/1902.04502. The paper gives
1.11 M parameters with 19 classes and no count of operations. The convolutions of this one have 1,114,115 parameters,
its batch normalisations, which fold away, 23,680, and the two auxiliary heads of training 56,678; it takes 6.71 G
multiply-adds at 1024 x 2048.

One thing differs. The paper pools into 1, 2, 3 and 6 bins whatever the size of the map: windows of unequal size, for
which ONNX has no operation, and which see another extent of the road in a training crop than in a whole frame. Here the
three finer pools average windows of 2s + 1 pixels every s pixels, s = 4, 8, 16, not counting padding: at 1024 x 2048
that makes 8 x 16, 4 x 8 and 2 x 4 bins. Parameters are the same, any image size fits, and a window covers the same
extent at every size. The coarsest pool is the average of the whole map, as in the paper.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.blocks import (
    FeatureFusion,
    InvertedResidual,
    PyramidPooling,
    conv_bn,
    head,
    initialise,
    scaled,
    separable,
)
from edgeseg.outputs import Outputs

__all__ = ["FastSCNN", "fast_scnn"]

PUBLISHED = {"fast-scnn": (1.11, None, None)}


def fast_scnn(num_classes: int, *, width: float = 1.0, auxiliary: bool = True) -> FastSCNN:
    """Fast-SCNN, logits (N, num_classes, H/8, W/8).

    ``width`` scales all channels, rounded to multiples of 8. In training two more heads read the shared layers (H/8)
    and the deep path (H/32), unless ``auxiliary=False``. Training needs two images or more in a batch: the pyramid's
    global average, one value per image and channel, is normalised over them.
    """
    return FastSCNN(num_classes, width, auxiliary=auxiliary)


class FastSCNN(nn.Module):
    stride = 8

    def __init__(self, num_classes: int, width: float, *, auxiliary: bool) -> None:
        super().__init__()
        c32, c48, c64, c96, c128 = (scaled(c, width) for c in (32, 48, 64, 96, 128))
        self.shared = nn.Sequential(conv_bn(3, c32, 3, 2), separable(c32, c48, 2), separable(c48, c64, 2))
        self.deep = nn.Sequential(
            *(InvertedResidual(c64, c64, s) for s in (2, 1, 1)),
            *(InvertedResidual(c, c96, s) for c, s in ((c64, 2), (c96, 1), (c96, 1))),
            *(InvertedResidual(c, c128) for c in (c96, c128, c128)),
        )
        self.pyramid = PyramidPooling(c128, c128)
        self.fuse = FeatureFusion(c64, c128, c128)
        self.classify = nn.Sequential(separable(c128, c128), separable(c128, c128), nn.Conv2d(c128, num_classes, 1))
        self.auxiliary = nn.ModuleList(head(c, c32, num_classes) for c in (c64, c128)) if auxiliary else None
        initialise(self)

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8; features: shared (N, 64, H/8), deep (N, 128, H/32), and their fusion (N, 128, H/8)."""
        detail = self.shared(images)  # (N, 64, H/8, W/8)
        deep = self.deep(detail)  # (N, 128, H/32, W/32)
        fused = self.fuse(detail, self.pyramid(deep))  # (N, 128, H/8, W/8)
        extra: tuple[Tensor, ...] = ()
        if self.training and self.auxiliary is not None:
            extra = tuple(h(x) for h, x in zip(self.auxiliary, (detail, deep), strict=True))
        return Outputs(self.classify(fused), (detail, deep, fused), extra)
