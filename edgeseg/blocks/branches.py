"""Branches that training wants and engines need not have: convolutions beside each other that fold into one."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg.blocks.convolution import conv_bn


class RepConv(nn.Module):
    """In training 3x3 and 1x1 convolutions and, where shapes agree, the input, summed; then normalised, then ReLU.

    ``folded`` is the 3x3 convolution that equals them: structural re-parameterisation, Ding et al. 2021,
    https://arxiv.org/abs/2101.03697. Only the 3x3 branch has a normalisation of its own, and another follows the sum:
    with one in each branch weights grow that quantize badly, Chu et al. 2022, https://arxiv.org/abs/2212.01593.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.dense = conv_bn(inputs, outputs, 3, stride, relu=False)
        self.point = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.same = stride == 1 and inputs == outputs
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        total = self.dense(x) + self.point(x)
        return self.relu(self.bn(total + x if self.same else total))

    @torch.no_grad()
    def folded(self) -> nn.Sequential:
        """One convolution, batch normalisation and ReLU that give in ``eval`` what this gives."""
        conv, bn = self.dense
        gain = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        point = self.point.weight
        if self.same:
            point = point + torch.eye(len(point), device=point.device)[..., None, None]
        weight = conv.weight * gain.view(-1, 1, 1, 1) + F.pad(point, (1, 1, 1, 1))
        one = conv_bn(conv.in_channels, conv.out_channels, 3, conv.stride[0]).to(weight.device)
        one.load_state_dict({"0.weight": weight, **{f"1.{k}": v for k, v in self.bn.state_dict().items()}})
        one[1].eps = self.bn.eps
        one[1].running_mean -= bn.bias - bn.running_mean * gain  # a constant, which the normalisation takes away again
        return one.train(self.training)


def reparameterised(net: nn.Module) -> nn.Module:
    """The network with each block of branches as the one convolution that equals it in ``eval``.

    A copy where there are such blocks; otherwise the network itself.
    """
    blocks = [name for name, module in net.named_modules() if isinstance(module, RepConv)]
    if blocks:
        net = copy.deepcopy(net)
    for name in blocks:
        block = net.get_submodule(name)
        assert isinstance(block, RepConv)
        net.set_submodule(name, block.folded())
    return net
