"""ESPNet: blocks that reduce channels, look at them through five dilations at once, and sum as they go outwards.

Mehta et al. 2018, "ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic Segmentation",
https://arxiv.org/abs/1803.06815. ``espnet`` is the paper's ESPNet, ``espnet_c`` its encoder alone, ESPNet-C. Alpha2 and
alpha3, called p and q in the authors' code, are how often blocks repeat at H/4 and at H/8. The paper gives 0.364 M
parameters for alpha2 = 2, alpha3 = 8 and the 20 outputs that its authors have on Cityscapes: 364,569 here as in their
network, 349,449 of them the encoder's. It takes 4.71 G multiply-adds at 512 x 1024, the encoder alone 3.47 G.

It is the authors' network, module for module and name for name, so that :func:`load_published` takes their checkpoints
and says what they say. The last transposed convolution brings logits to the image's own size: ``stride`` is 1, labels
are the argmax of the logits, and nothing is left to be enlarged. ESPNet-C has stride 8. What differs:

* average pools of the image do not count padding, which some integer kernels get wrong when they should. A published
  network was trained with them counting it, and keeps them so: in the first row and column of H/2 and H/4;
* where sizes are odd, what a transposed convolution has enlarged is cropped; theirs takes multiples of 8 only;
* the decoder's maps have as many channels as classes, as theirs, but at least five, one for each dilation.

Normalisations stand behind concatenations and sums, as published, and not behind each convolution: an engine computes
them on their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgeseg.blocks import crop, initialise, scaled, transposed
from edgeseg.errors import NetworkError
from edgeseg.outputs import Outputs

__all__ = ["ESPNet", "ESPNetC", "espnet", "espnet_c"]

PUBLISHED = {"espnet": (0.364, None, None)}

BLOCK = 1  # a block's channels are split in five, 64 into 16 + 4 x 12: no multiples of 8
BARE = True  # convolutions without a bias that feed sums and concatenations, which are normalised
DILATIONS = (1, 2, 4, 8, 16)


def espnet(num_classes: int, *, width: float = 1.0, auxiliary: bool = True, alpha2: int = 2, alpha3: int = 8) -> ESPNet:
    """ESPNet, logits (N, num_classes, H, W); it has no auxiliary head to switch off.

    ``width`` scales the channels between blocks, rounded to multiples of 8.
    """
    return ESPNet(num_classes, _channels(width), alpha2, alpha3)


def espnet_c(
    num_classes: int, *, width: float = 1.0, auxiliary: bool = True, alpha2: int = 2, alpha3: int = 8
) -> ESPNetC:
    """ESPNet-C, the encoder with a classifier, logits (N, num_classes, H/8, W/8); no auxiliary head."""
    return ESPNetC(num_classes, _channels(width), alpha2, alpha3)


def load_published(state_dict: Mapping[str, Tensor]) -> ESPNet:
    """The network of a published checkpoint of the whole ESPNet, in ``eval()``: classes, alpha2 and alpha3 are in it.

    Its logits are those of the authors' network. Raises NetworkError, with what does not fit, for another state dict.
    """
    try:
        num_classes = state_dict["classifier.weight"].shape[1]
        channels = tuple(len(state_dict[f"encoder.{n}.bn.weight"]) for n in ("level1", "level2_0", "level3_0"))
        skipped = state_dict["conv.conv.weight"].shape[1] - num_classes  # channels of H/2 that the decoder reads
    except KeyError as e:
        raise NetworkError(
            f"expected the state dict of a published ESPNet with its decoder, and {e} is not in it; "
            f"its first names are {', '.join(list(state_dict)[:3])}"
        ) from e
    alpha2, alpha3 = (len({k.split(".")[2] for k in state_dict if k.startswith(f"encoder.level{n}.")}) for n in (2, 3))
    net = ESPNet(num_classes, channels, alpha2, alpha3, image_again=skipped > channels[0], count_padding=True)
    try:
        net.load_state_dict(state_dict)
    except RuntimeError as e:
        raise NetworkError(
            f"the state dict is no ESPNet of {num_classes} classes, alpha2 = {alpha2}, alpha3 = {alpha3}: {e}"
        ) from e
    return net.eval()


def _channels(width: float) -> tuple[int, int, int]:
    return scaled(16, width), scaled(64, width), scaled(128, width)


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = kernel // 2 * dilation
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation=dilation, bias=False)
    return nn.Sequential(OrderedDict(conv=conv))


def _norm(channels: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict(bn=nn.BatchNorm2d(channels, eps=1e-3), act=nn.PReLU(channels))


def _conv_norm(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=_conv(inputs, outputs, 3, stride).conv, **_norm(outputs)))


class ESP(nn.Module):
    """Efficient spatial pyramid: reduce to a fifth of the channels, five dilations of it, sums outwards from 2.

    The sums (hierarchical feature fusion) cover the holes that each dilation leaves. With ``stride=2`` the reduction is
    3x3 and halves the map; ``residual`` adds the input.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        fifth = outputs // len(DILATIONS)
        self.residual, self.strided = residual, stride > 1
        self.c1 = _conv(inputs, fifth, 3 if self.strided else 1, stride)
        self.d1 = _conv(fifth, outputs - 4 * fifth, 3)
        self.d2, self.d4, self.d8, self.d16 = (_conv(fifth, fifth, 3, dilation=d) for d in DILATIONS[1:])
        if self.strided:
            self.bn, self.act = _norm(outputs).values()
        else:
            self.bn = nn.Sequential(_norm(outputs))

    def initialise(self) -> None:
        """Normal, 1 / fan-in: none of the convolutions is normalised before its sum, so each keeps its variance."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.c1(x)
        near, sums = self.d1(reduced), [self.d2(reduced)]
        for dilated in (self.d4, self.d8, self.d16):
            sums.append(sums[-1] + dilated(reduced))
        y = torch.cat([near, *sums], 1)
        y = self.bn(x + y if self.residual else y)
        return self.act(y) if self.strided else y


def _initialise(net: nn.Module) -> None:
    initialise(net)
    for module in net.modules():
        if isinstance(module, ESP):
            module.initialise()


class ESPNetC(nn.Module):
    """The encoder: C1, C2, C3 = ``channels`` at H/2, H/4 and H/8, and the image itself beside the first two."""

    stride = 8
    auxiliary = None

    def __init__(
        self, num_classes: int, channels: tuple[int, ...], alpha2: int, alpha3: int, *, count_padding: bool = False
    ) -> None:
        super().__init__()
        if min(alpha2, alpha3) < 1:
            raise NetworkError(f"espnet: alpha2 and alpha3 must be 1 or more, got {alpha2} and {alpha3}")
        c1, c2, c3 = channels
        self.level1 = _conv_norm(3, c1, 2)
        self.shrink = nn.AvgPool2d(3, 2, 1, count_include_pad=count_padding)
        self.b1 = nn.Sequential(_norm(c1 + 3))
        self.level2_0 = ESP(c1 + 3, c2, stride=2)
        self.level2 = nn.Sequential(*(ESP(c2, c2, residual=True) for _ in range(alpha2)))
        self.b2 = nn.Sequential(_norm(2 * c2 + 3))
        self.level3_0 = ESP(2 * c2 + 3, c3, stride=2)
        self.level3 = nn.Sequential(*(ESP(c3, c3, residual=True) for _ in range(alpha3)))
        self.b3 = nn.Sequential(_norm(2 * c3))
        self.classifier = _conv(2 * c3, num_classes)
        _initialise(self)
        nn.init.normal_(self.classifier.conv.weight, std=(2 * c3) ** -0.5)  # logits, without a bias

    def forward(self, images: Tensor) -> Outputs:
        """Logits at 1/8, and ``maps`` as features."""
        *_, last = maps = self.maps(images)
        return Outputs(self.classifier(last), maps)

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C1, H/2), (N, C1 + 3, H/2), (N, 2 C2 + 3, H/4), (N, 2 C3, H/8)."""
        image = self.shrink(images)
        first = self.level1(images)
        x1 = self.b1(torch.cat([first, image], 1))  # (N, C1 + 3, H/2, W/2)
        down2 = self.level2_0(x1)
        x2 = self.b2(torch.cat([self.level2(down2), down2, self.shrink(image)], 1))  # (N, 2 C2 + 3, H/4, W/4)
        down3 = self.level3_0(x2)
        x3 = self.b3(torch.cat([down3, self.level3(down3)], 1))  # (N, 2 C3, H/8, W/8)
        return first, x1, x2, x3


class ESPNet(nn.Module):
    """The encoder, and a decoder that halves the stride three times, as many channels as classes in its maps.

    It reads the first layer's map at H/2, or with ``image_again`` that map beside the image, normalised, as the encoder
    goes on with it: the authors published checkpoints of the one, and code that trains the other.
    """

    stride = 1
    auxiliary = None

    def __init__(
        self,
        num_classes: int,
        channels: tuple[int, ...],
        alpha2: int,
        alpha3: int,
        *,
        image_again: bool = False,
        count_padding: bool = False,
    ) -> None:
        super().__init__()
        c1, c2, _ = channels
        self.image_again = image_again
        k = max(num_classes, len(DILATIONS))
        self.encoder = ESPNetC(k, channels, alpha2, alpha3, count_padding=count_padding)
        self.level3_C = _conv(2 * c2 + 3, k)
        self.br = nn.BatchNorm2d(k, eps=1e-3)
        self.conv = _conv_norm(c1 + 3 * image_again + k, k)
        self.up_l3 = nn.Sequential(transposed(k, k))
        self.combine_l2_l3 = nn.Sequential(nn.Sequential(_norm(2 * k)), ESP(2 * k, k))
        self.up_l2 = nn.Sequential(transposed(k, k), nn.Sequential(_norm(k)))
        self.classifier = transposed(k, num_classes)
        _initialise(self)
        for module in (self.up_l3[0], self.up_l2[0], self.classifier):
            nn.init.normal_(module.weight, std=k**-0.5)  # keeps the variance: one tap to a pixel

    def forward(self, images: Tensor) -> Outputs:
        """Logits at the image's size; features: the encoder's four and the decoder's last (N, K, H/2)."""
        first, x1, x2, x3 = self.encoder.maps(images)
        x = crop(self.up_l3(self.br(self.encoder.classifier(x3))), x2.shape[-2:])  # (N, K, H/4, W/4)
        x = self.combine_l2_l3(torch.cat([self.level3_C(x2), x], 1))
        x = crop(self.up_l2(x), x1.shape[-2:])  # (N, K, H/2, W/2)
        x = self.conv(torch.cat([x, x1 if self.image_again else first], 1))
        return Outputs(crop(self.classifier(x), images.shape[-2:]), (first, x1, x2, x3, x))
