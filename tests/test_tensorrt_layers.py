"""Layers as TensorRT's two libraries describe them, read from what they really wrote."""

from __future__ import annotations

import json

from edgeseg import tensorrt_layers
from edgeseg.tensorrt_layers import EngineLayer, Tensor

# TensorRT-RTX 1.7.1 while it built DDRNet-23-slim for SM86.
LOG = """Layers:
Name: stem.1.0.Conv_myl0_4, LayerType: correlation, Inputs: [ { Name: __mye7415_myl0, Dimensions: [1,32,180,240], \
Strides: [1382400,1,7680,32], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }], \
Constants: [ { Name: __mye14993dconst_myl0, Dimensions: [32,32,3,3], Strides: [288,1,96,32], StrideOrder: [3,0,2,1], \
Datatype: Int8, Format: (NHWC) Channel major format }, { Name: __mye14998dconst_myl0, Dimensions: [1,32,1,1], \
Strides: [32,1,32,32], StrideOrder: [3,0,2,1], Datatype: Float, Format: (NHWC) Channel major format }], \
Outputs: [ { Name: __myln_k_arg__bb1_38_myl0, Dimensions: [1,32,90,120], Strides: [345600,1,3840,32], \
StrideOrder: [3,0,2,1], Datatype: Float, Format: (NHWC) Channel major format }], TacticName: __myelin_CASK_STUB, \
StreamId: 0, Metadata: [ONNX Layer: stem.1.0.Conv][ONNX Layer: quantizers.stem_0_2.DequantizeLinear]
Name: __myl_MulAddReluMulMinMaxRounCast_myl0_5, LayerType: kgen, Inputs: [ { Name: __myln_k_arg__bb1_6_myl0, \
Dimensions: [1,32,90,120], Strides: [345600,1,3840,32], StrideOrder: [3,0,2,1], Datatype: Float, \
Format: (NHWC) Channel major format }], Outputs: [ { Name: __mye7415conv2d_2_myl0, Dimensions: [1,32,90,120], \
Strides: [345600,1,3840,32], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }], \
TacticName: __myl_MulAddReluMulMinMaxRounCast_0x714a, StreamId: 0, Metadata: [ONNX Layer: stem.1.0.Conv]\
[ONNX Layer: quantizers.stem_1_2.QuantizeLinear][ONNX Layer: stem.1.2.Relu]
Name: __mye17324_myl0_14, LayerType: signal, Inputs: [], Outputs: [], TacticName: , StreamId: 0, Metadata: """

# The inspector of TensorRT 8.6 and 10, and of 11, which has the type in a field of its own.
TEN = {
    "Name": "conv1 + relu1 || conv2 + relu2",
    "LayerType": "CaskConvolution",
    "Inputs": [
        {
            "Name": "x",
            "Location": "Device",
            "Dimensions": [1, 128, 40, 40],
            "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format",
        }
    ],
    "Outputs": [{"Name": "y", "Dimensions": [1, 144, 40, 40], "Format/Datatype": "Row major linear FP16 format"}],
    "ParameterType": "Convolution",
    "Weights": {"Type": "Int8", "Count": 165888},
    "Metadata": "[ONNX Layer: /head/conv1/Conv]\x1e[ONNX Layer: /head/relu]\x1e[ONNX Layer: /head/conv2/Conv_1]",
}
ELEVEN = {
    "Name": "cast",
    "LayerType": "Reformat",
    "Inputs": [{"Name": "image", "Dimensions": [1, 4, 4, 3], "Format": "kLINEAR", "DataType": "UInt8"}],
    "Outputs": [{"Name": "real", "Dimensions": [1, 4, 4, 3], "Format": "kLINEAR", "DataType": "Half"}],
    "Metadata": "[ONNX Layer: pixels.Cast]",
}


def test_a_log_is_read_kernel_by_kernel():
    conv, rounding, signal = tensorrt_layers.from_log(["something else", LOG])
    assert conv == EngineLayer(
        name="stem.1.0.Conv_myl0_4",
        kind="correlation",
        nodes=("stem.1.0.Conv", "quantizers.stem_0_2.DequantizeLinear"),
        inputs=(Tensor(shape=(1, 32, 180, 240), precision="int8"),),
        constants=(
            Tensor(shape=(32, 32, 3, 3), precision="int8"),
            Tensor(shape=(1, 32, 1, 1), precision="fp32"),
        ),
        outputs=(Tensor(shape=(1, 32, 90, 120), precision="fp32"),),
    )
    assert conv.convolutions == ("stem.1.0.Conv",) and conv.precision == "int8"
    assert rounding.convolutions == ()  # it finishes one, and computes none
    assert signal.inputs == signal.outputs == ()


def test_a_log_without_layers_has_none():
    assert tensorrt_layers.from_log([]) == tensorrt_layers.from_log(["Engine generation completed"]) == []


def test_the_last_listing_counts():
    assert len(tensorrt_layers.from_log([LOG, LOG.rsplit("\n", 1)[0]])) == 2


def test_an_inspectors_layers_are_the_same_kind():
    fused, cast = tensorrt_layers.from_inspector(json.dumps({"Layers": [TEN, ELEVEN], "Bindings": ["image", "y"]}))
    assert fused.convolutions == ("/head/conv1/Conv", "/head/conv2/Conv_1") and fused.precision == "int8"
    assert fused.kind == "Convolution" and fused.outputs[0].precision == "fp16"
    assert fused.constants == (Tensor(shape=(165888,), precision="int8"),)
    assert cast.convolutions == () and cast.precision == "uint8" and cast.outputs[0].precision == "fp16"


def test_an_engine_that_keeps_only_names_has_no_layers():
    assert tensorrt_layers.from_inspector(json.dumps({"Layers": ["conv1 + relu1"], "Bindings": []})) == []


def test_what_is_written_is_read_back(tmp_path):
    layers = tensorrt_layers.from_log([LOG])
    tensorrt_layers.write(layers, tmp_path / "layers.json")
    assert tensorrt_layers.read(tmp_path / "layers.json") == layers
