"""Pixels as a graph's input, where more than one convolution reads them."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from edgeseg.blocks import conv_bn, initialise
from edgeseg.compress import qat
from edgeseg.contract import Contract
from edgeseg.graph import export, head, onnx_file
from edgeseg.graph.deploy import deploy
from edgeseg.outputs import Outputs

CONTRACT = Contract(
    size_hw=(8, 12),
    classes=("a", "b"),
    colors=((0, 0, 0),) * 2,
    mean=(128 / 255,) * 3,
    std=(128 / 255,) * 3,
)


class TwoStems(nn.Module):
    stride = 2

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.first, self.second = conv_bn(3, 8, 3, 2), conv_bn(3, 8, kernel, 2)
        self.classify = nn.Conv2d(8, 2, 1)
        initialise(self)

    def forward(self, images: torch.Tensor) -> Outputs:
        return Outputs(self.classify(self.first(images) + self.second(images)))


@pytest.mark.parametrize(("kernel", "integers"), [(3, True), (5, False)])
def test_every_first_convolution_reads_the_pixels_if_all_pad_alike(kernel, integers):
    torch.manual_seed(0)
    graph = qat.prepare(TwoStems(kernel), input_scale=1 / 128)
    qat.calibrate(graph, [torch.randn(2, 3, 8, 12).clamp(-1, 1)])
    signed = head.take_pixels(onnx_file.trace(deploy(graph), CONTRACT), CONTRACT)
    unsigned = export.cpu_form(signed)
    stems = [n for n in unsigned.graph.node if n.op_type == "Conv" and "classify" not in n.name]
    assert len(stems) == 2
    assert all((n.input[0] == "pixels.planes_of_steps") == integers for n in stems)
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 12, 3), dtype=np.uint8)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    logits = [
        ort.InferenceSession(model.SerializeToString(), options).run(None, {"image": image})[0]
        for model in (signed, unsigned)
    ]
    np.testing.assert_array_equal(*logits)
