"""Graphs take the camera's pixels, and compute what the network does of normalised images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from edgeseg.backends import get
from edgeseg.batches import normalize
from edgeseg.blocks import conv_bn, initialise
from edgeseg.compress import qat
from edgeseg.contract import IMAGENET_MEAN, IMAGENET_STD, Contract
from edgeseg.graph import export, head, onnx_file
from edgeseg.graph.deploy import deploy
from edgeseg.graph.export import cpu_form
from edgeseg.outputs import Outputs

SIZE_HW = (13, 18)
HALF = (128 / 255,) * 3


class Small(nn.Module):
    """Two convolutions; a ReLU before the first, and then it reads no pixels; or one more, of the image's half."""

    stride = 2

    def __init__(self, *, padding: int = 1, relu_first: bool = False, halved: bool = False) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, padding, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.last = nn.Conv2d(8, 4, 1)
        self.relu = nn.ReLU() if relu_first else None
        self.of_half = nn.Sequential(nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.Conv2d(3, 4, 1))
        self.halved = halved

    def forward(self, images: torch.Tensor) -> Outputs:
        if self.halved:
            return Outputs(self.last(self.first(images)) + self.of_half(images))
        return Outputs(self.last(self.first(images if self.relu is None else self.relu(images))))


def contract_of(mean: tuple[float, ...], std: tuple[float, ...]) -> Contract:
    return Contract(size_hw=SIZE_HW, classes=tuple("abcd"), colors=((0, 0, 0),) * 4, stride=2, mean=mean, std=std)


def pixels_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, *SIZE_HW, 3), dtype=np.uint8)


def trained(network: nn.Module, contract: Contract) -> nn.Module:
    """Batch normalisation with statistics of its own."""
    network.train()
    for seed in range(3):
        network(normalize(pixels_of(seed), contract.mean, contract.std))
    return network.eval()


def run(model: onnx.ModelProto, pixels: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options).run(None, {"image": pixels})[0]


def operators(model: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node if n.name.startswith("pixels.")]


@pytest.mark.parametrize(("mean", "std"), [(HALF, HALF), (IMAGENET_MEAN, IMAGENET_STD)])
@pytest.mark.parametrize("relu_first", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
def test_the_float_graph_normalises(mean, std, relu_first, padding, tmp_path):
    torch.manual_seed(0)
    contract = contract_of(mean, std)
    network = trained(Small(padding=padding, relu_first=relu_first), contract)
    onnx_file.write(deploy(network), contract, tmp_path / "float.onnx")
    model = onnx.load(tmp_path / "float.onnx")
    assert operators(model) == ["Cast", "Transpose", "Sub"] + ["Mul"] * relu_first  # else folded into the convolution
    with torch.no_grad():
        want = network(normalize(pixels_of(9), mean, std)).logits.numpy()
    np.testing.assert_allclose(run(model, pixels_of(9)), want, rtol=0, atol=2e-6 * np.abs(want).max())


def quantized(
    tmp_path: Path, contract: Contract, **options: int
) -> tuple[onnx.ModelProto, onnx.ModelProto, np.ndarray]:
    """Signed and unsigned graph, and what the network under fake quantization says of ``pixels_of(9)``."""
    torch.manual_seed(0)
    network = trained(Small(**options), contract)
    graph = qat.prepare(network, input_scale=1 / 128 if contract.mean == HALF else None)
    qat.calibrate(graph, [normalize(pixels_of(seed), contract.mean, contract.std) for seed in range(3)])
    onnx_file.write(deploy(graph.eval()), contract, tmp_path / "int8.onnx")
    signed = onnx.load(tmp_path / "int8.onnx")
    with torch.no_grad():
        want = graph(normalize(pixels_of(9), contract.mean, contract.std)).logits.numpy()
    return signed, cpu_form(signed), want


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_pixels_are_the_integers_of_the_first_convolution(padding, tmp_path):
    """Also where the frame is padded: what lies around it is 128, the pixel that normalisation makes zero."""
    signed, unsigned, want = quantized(tmp_path, contract_of(HALF, HALF), padding=padding)
    assert operators(signed) == ["Cast", "Transpose", "Sub", "Mul"]  # TensorRT wants zero-points of 0
    assert operators(unsigned) == ["Pad", "DequantizeLinear", "Transpose"]
    for model in (signed, unsigned):
        np.testing.assert_allclose(run(model, pixels_of(9)), want, rtol=0, atol=1e-6 * np.abs(want).max())


def test_a_pool_of_the_image_leaves_its_convolution_the_pixels(tmp_path):
    _, unsigned, want = quantized(tmp_path, contract_of(HALF, HALF), halved=True)
    assert {"Pad", "Steps", "Planes"} <= {n.name.removeprefix("pixels.") for n in unsigned.graph.node}
    np.testing.assert_allclose(run(unsigned, pixels_of(9)), want, rtol=0, atol=1e-6 * np.abs(want).max())


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_engines_run_the_first_convolution_in_int8(backend, tmp_path):
    _, unsigned, want = quantized(tmp_path, contract_of(HALF, HALF))
    module = get(backend)
    if backend == "onnxruntime":
        module.prefer_integers(unsigned)
    onnx.save(unsigned, tmp_path / "cpu.onnx")
    if backend == "openvino":
        engine = module.OpenvinoEngine(tmp_path / "cpu.onnx", "int8", 1)
    else:
        engine = module.OnnxRuntimeEngine(tmp_path / "cpu.onnx", 1)
    first = next(layer for layer in engine.layers() if layer.op == "conv" and "first" in layer.name)
    assert first.precision == "int8"
    np.testing.assert_allclose(engine(pixels_of(9)), want, rtol=0, atol=1e-6 * np.abs(want).max())


def test_a_grid_that_is_not_the_pixels_keeps_its_head(tmp_path):
    signed, unsigned, want = quantized(tmp_path, contract_of(IMAGENET_MEAN, IMAGENET_STD))
    assert operators(unsigned) == operators(signed) == ["Cast", "Transpose", "Sub", "Mul"]
    for model in (signed, unsigned):
        np.testing.assert_allclose(run(model, pixels_of(9)), want, rtol=0, atol=1e-6 * np.abs(want).max())


def test_a_convolution_without_bias_gets_one(tmp_path):
    """As a graph from elsewhere may have it: ours always add something."""
    contract = contract_of(HALF, HALF)
    torch.manual_seed(0)
    graph = qat.prepare(Small().eval(), input_scale=1 / 128)
    qat.calibrate(graph, [normalize(pixels_of(0), HALF, HALF)])
    onnx_file.write(deploy(graph.eval()), contract, tmp_path / "int8.onnx")
    signed = onnx.load(tmp_path / "int8.onnx")
    (first, *_) = [n for n in signed.graph.node if n.op_type == "Conv"]
    del first.input[2]
    unsigned = cpu_form(signed)
    assert operators(unsigned) == ["Pad", "DequantizeLinear", "Transpose"]
    np.testing.assert_allclose(run(unsigned, pixels_of(9)), run(signed, pixels_of(9)), rtol=0, atol=1e-6)


TWO_STEMS = Contract(
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
    signed = head.take_pixels(onnx_file.trace(deploy(graph), TWO_STEMS), TWO_STEMS)
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
