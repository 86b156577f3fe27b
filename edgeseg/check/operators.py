"""Which ONNX operators TensorRT's parser reads, since which version, and what it asks of them.

Sources, by column:

* 8.6: ``docs/operators.md`` of onnx-tensorrt's branch 8.6-GA, and ``builtin_op_importers.cpp`` beside it.
* 10.x: the same page of 10.0 and 10.15, ``onnxOpImporters.cpp`` and ``onnxOpCheckers.cpp`` of branch 10.1-GA, and
  ``docs/Changelog.md`` up to 10.15 for the release that an operator came with.
* 11: what 10.15 reads; its own page "ONNX Opset Guide" (opsets 9 to 25).
* TensorRT-RTX 1.7: what ``OnnxParser.supports_operator`` of 1.7.1 answers, and what parse and build then do.

https://github.com/onnx/onnx-tensorrt, https://docs.nvidia.com/deeplearning/tensorrt
"""

from __future__ import annotations

from edgeseg.check.readers import Reader

_IN_8_6 = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip
    Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout
    Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool
    GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity
    If ImageScaler InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
    LogSoftmax Loop LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mod Mul Neg
    NonMaxSuppression NonZero Not OneHot Or PRelu Pad ParametricSoftplus Pow QuantizeLinear RNN RandomNormal
    RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign
    Round ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice
    Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose
    Trilu Unsqueeze Upsample Where Xor
"""
IN_8_6 = frozenset(_IN_8_6.split())
SINCE = {
    "CastLike": (10, 0),
    "Gelu": (10, 0),
    "Hardmax": (10, 0),
    "Mish": (10, 0),
    "DeformConv": (10, 1),
    "BlackmanWindow": (10, 4),
    "HammingWindow": (10, 4),
    "HannWindow": (10, 4),
    "STFT": (10, 5),
    "Attention": (10, 14),
    "RMSNormalization": (10, 15),
    "RotaryEmbedding": (10, 15),
    "TensorScatter": (10, 15),
}
ONLY_RTX = {"CausalConvWithState", "LinearAttention", "Swish"}
NOT_RTX = {"DeformConv"}
# Read by the parser with the help of a plugin: TensorRT has them in its plugin library, TensorRT-RTX ships none.
PLUGINS = {"NonZero", "RoiAlign", "NonMaxSuppression", "DeformConv", "CausalConvWithState", "LinearAttention"}
# Whatever their domain says, the parser goes by the name.
ANY_DOMAIN = {"QuantizeLinear", "DequantizeLinear"}
MAX_OPSET = {(8, 6): 17, (10, 0): 20, (10, 15): 24, (11, 0): 25}
MIN_OPSET = 9


def supported(op: str, reader: Reader) -> bool:
    """Whether a TensorRT reads an operator of the standard domain."""
    if reader.target == "trt-rtx":
        return (op in IN_8_6 or op in SINCE or op in ONLY_RTX) and op not in NOT_RTX
    return op in IN_8_6 or SINCE.get(op, (99, 0)) <= reader.version


def newest_opset(reader: Reader) -> int:
    """The last opset that a TensorRT's documents name."""
    if reader.target == "trt-rtx":
        return max(MAX_OPSET.values())
    return max(opset for version, opset in MAX_OPSET.items() if version <= reader.version)
