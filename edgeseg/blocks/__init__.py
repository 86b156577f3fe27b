"""The building blocks of every network here, each in the form that quantizes well: a catalogue.

Convolution, batch normalisation, ReLU: always in this order, which an integer engine runs as one operation.

Convolutions
    plain, strided, dilated, grouped  ``conv_bn(inputs, outputs, kernel, stride, groups=, dilation=)``
    depthwise-separable               ``separable``
    asymmetric, k x 1 then 1 x k      ``asymmetric``
    grouped, with channel shuffle     ``ShuffleUnit``; the shuffle alone is ``shuffle``
    and a classifier behind           ``head``
Blocks with a shortcut
    two 3x3                           ``Residual``
    bottleneck, 1x1, 3x3 and 1x1      ``Bottleneck``, dilated too
    inverted residual                 ``InvertedResidual``
    3x3, 1x1 and itself, as one       ``RepConv``; ``reparameterised`` makes one convolution of each
Smaller maps
    strided                           ``conv_bn(..., stride=2)``
    max-pool                          ``nn.MaxPool2d(3, 2, 1)``, or ``(2, 2, ceil_mode=True)`` to keep odd sizes' last
    strided beside a max-pool         ``Down``
Larger maps
    bilinear                          ``resize_as(x, like, factor)``
    nearest                           ``nearest_as(x, like, factor)``
    transposed convolution            ``transposed``
    what is too much at odd sizes     ``crop``
Context
    averages of growing windows       ``windows``; of them ``PyramidPooling`` and ``DAPPM``
    a deep map joins a detailed one   ``FeatureFusion``
Trunks
    ResNet-18 and -34                 ``ResNet``; deeper ones, dilated, are in :mod:`edgeseg.resnet`
    STDC                              ``stdc_stages``, of ``ShortTermDense``
Sizes and weights
    channels times a width            ``scaled``
    what weights start as             ``initialise``
"""

from edgeseg.blocks.branches import RepConv, reparameterised
from edgeseg.blocks.context import DAPPM, FeatureFusion, PyramidPooling, windows
from edgeseg.blocks.convolution import asymmetric, conv_bn, head, normalised, scaled, separable
from edgeseg.blocks.grouped import ShuffleUnit, shuffle
from edgeseg.blocks.residual import Bottleneck, InvertedResidual, Residual
from edgeseg.blocks.sampling import Down, crop, nearest_as, resize_as, transposed
from edgeseg.blocks.start import initialise
from edgeseg.blocks.trunks import ResNet, ShortTermDense, stdc_stages

__all__ = [
    "DAPPM",
    "Bottleneck",
    "Down",
    "FeatureFusion",
    "InvertedResidual",
    "PyramidPooling",
    "RepConv",
    "ResNet",
    "Residual",
    "ShortTermDense",
    "ShuffleUnit",
    "asymmetric",
    "conv_bn",
    "crop",
    "head",
    "initialise",
    "nearest_as",
    "normalised",
    "reparameterised",
    "resize_as",
    "scaled",
    "separable",
    "shuffle",
    "stdc_stages",
    "transposed",
    "windows",
]
