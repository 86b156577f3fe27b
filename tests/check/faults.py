"""One tiny graph per rule, with what TensorRT-RTX is said to do: severity and rule, or nothing for a sound one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from graphs import Sketch
from onnx import TensorProto as T
from onnx import helper

f32 = np.float32
DOUBLED = np.array([1, 1, 2, 2], f32)


@dataclass(frozen=True)
class Fault:
    """``crashes``: TensorRT-RTX ends the process instead of answering, so nobody asks it."""

    make: Callable[[], onnx.ModelProto]
    severity: str | None
    rule: str | None
    crashes: bool = False


FAULTS: dict[str, Fault] = {}


def fault(severity: str | None = None, rule: str | None = None, **options: bool) -> Callable[[Any], Any]:
    def keep(make: Callable[[], onnx.ModelProto]) -> Callable[[], onnx.ModelProto]:
        FAULTS[make.__name__] = Fault(make, severity, rule, **options)
        return make

    return keep


def one(name: str, severity: str | None, rule: str | None, op: str, *constants: Any, **given: Any) -> None:
    """A graph of one operator; ``shape``, ``dtype``, ``out``, ``opset`` and ``outputs`` besides its attributes."""
    shape, dtype = given.pop("shape", (1, 8, 8, 8)), given.pop("dtype", T.FLOAT)
    out, opset = given.pop("out", T.FLOAT), given.pop("opset", 20)

    def make() -> onnx.ModelProto:
        s = Sketch(shape, dtype, opset=opset)
        inputs = ["" if c is None else s.constant(c) for c in constants]
        return s.model(s.node(op, "x", *inputs, **given), dtype=out)

    FAULTS[name] = Fault(make, severity, rule)


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(f32)


# Operators.

one("relu", None, None, "Relu")
one("mish", None, None, "Mish")
one("hard_sigmoid", None, None, "HardSigmoid")
one("swish", None, None, "Swish", opset=24)
one("group_normalization", None, None, "GroupNormalization", np.ones(8, f32), np.ones(8, f32), num_groups=2, opset=21)
one("det", "refused", "operator", "Det", shape=(4, 4))
one("unique", "refused", "operator", "Unique")
one("col2im", "refused", "operator", "Col2Im", np.array([5, 5]), np.array([1, 5]), shape=(1, 5, 5))
one("unpooling", "refused", "operator", "MaxUnpool", np.zeros((1, 8, 8, 8), np.int64), kernel_shape=[2, 2])
one("no_such_operator", "refused", "operator", "NoSuchOp")
one("deformable", "refused", "operator", "DeformConv", weight(8, 8, 3, 3), np.zeros((1, 18, 6, 6), f32))
one("dynamic_quantization", "refused", "operator", "DynamicQuantizeLinear", outputs=3, out=T.UINT8)
one("non_zero", "refused", "plugin", "NonZero", out=T.INT64)
one("opset_26", "note", "opset", "Relu", opset=26)
one("roi_align", "refused", "plugin", "RoiAlign", np.array([[0, 0, 4, 4]], f32), np.array([0]), output_height=2)
one("boxes", "refused", "plugin", "NonMaxSuppression", np.ones((1, 1, 8), f32), np.array([3]), shape=(1, 8, 4), out=7)


@fault("refused", "operator")
def another_domain():
    s = Sketch()
    return s.model(s.node("Fancy", "x", domain="my.ops"), opsets={"my.ops": 1})


@fault()
def roundings_of_another_domain():
    s = Sketch()
    scale, zero = s.constant(f32(0.1)), s.constant(np.int8(0))
    q = s.node("QuantizeLinear", "x", scale, zero, domain="com.microsoft")
    return s.model(s.node("DequantizeLinear", q, scale, zero, domain="com.microsoft"), opsets={"com.microsoft": 1})


def function(op: str) -> onnx.ModelProto:
    s = Sketch((4, 4))
    model = s.model(s.node("Fancy", "x", domain="my.ops"), opsets={"my.ops": 1})
    body = [helper.make_node(op, ["a"], ["b"])]
    model.functions.append(helper.make_function("my.ops", "Fancy", ["a"], ["b"], body, [helper.make_opsetid("", 20)]))
    return model


@fault()
def function_of_known_operators():
    return function("Relu")


@fault("refused", "operator")
def function_of_unknown_operators():
    return function("Det")


def branches(then: str, other: str, shape: tuple[int, ...], after: tuple[int, ...]) -> onnx.ModelProto:
    s = Sketch(shape)
    condition = s.node("Greater", s.node("ReduceMax", "x", keepdims=0), s.constant(f32(0)))
    graphs = [
        helper.make_graph(
            [helper.make_node(op, ["x"], [f"{name}.y"], name=name)],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}.y", T.FLOAT, dims)],
        )
        for name, op, dims in (("then", then, shape), ("other", other, after))
    ]
    return s.model(s.node("If", condition, then_branch=graphs[0], else_branch=graphs[1]))


@fault("slow", "control-flow")
def branch():
    return branches("Relu", "Neg", (1, 8), (1, 8))


@fault("refused", "control-flow")
def branches_of_two_ranks():
    return branches("Relu", "Squeeze", (1, 8), (8,))


@fault("refused", "operator")
def branch_with_unknown_operator():
    return branches("Relu", "Unique", (8,), (8,))


# Attributes and shapes.

for mode in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
    one(f"resize_{mode}", None, None, "Resize", None, DOUBLED, mode="linear", coordinate_transformation_mode=mode)
for mode in ("half_pixel_symmetric", "tf_crop_and_resize"):
    one(f"resize_{mode}", "refused", "resize", "Resize", None, DOUBLED, coordinate_transformation_mode=mode)
one(
    "resize_tf_nearest",
    "refused",
    "resize",
    "Resize",
    None,
    DOUBLED,
    coordinate_transformation_mode="tf_half_pixel_for_nn",
    nearest_mode="floor",
)
one("resize_cubic", None, None, "Resize", None, DOUBLED, mode="cubic")
one("resize_channels", None, None, "Resize", None, np.array([1, 2, 2, 2], f32), mode="linear")
one("resize_batch", "refused", "resize", "Resize", None, np.array([2, 1, 2, 2], f32), mode="linear")
one("resize_channels_cubic", "refused", "resize", "Resize", None, np.array([1, 2, 2, 2], f32), mode="cubic")
one("resize_axes", None, None, "Resize", None, np.array([2, 2], f32), axes=[2, 3], mode="linear")
one("resize_smooth", "refused", "resize", "Resize", None, DOUBLED, mode="linear", antialias=1)
one(
    "resize_aspect",
    "refused",
    "resize",
    "Resize",
    None,
    None,
    np.array([16, 20]),
    axes=[2, 3],
    keep_aspect_ratio_policy="not_larger",
)
one("resize_integers", "refused", "type", "Resize", None, DOUBLED, dtype=T.INT32, out=T.INT32)
one("average_with_padding", None, None, "AveragePool", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
one("average_rounded_up", None, None, "AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
one("average_dilated", "refused", "pooling", "AveragePool", kernel_shape=[3, 3], dilations=[2, 2])
one("maximum_dilated", "refused", "pooling", "MaxPool", kernel_shape=[3, 3], dilations=[2, 2])
one("maximum_with_indices", "refused", "pooling", "MaxPool", kernel_shape=[2, 2], outputs=2)
one("cubic_mean", "refused", "pooling", "LpPool", kernel_shape=[2, 2], p=3)
one("deconvolution", None, None, "ConvTranspose", weight(8, 4, 2, 2), strides=[2, 2], group=2)
one("deconvolution_dilated", None, None, "ConvTranspose", weight(8, 4, 2, 2), dilations=[2, 2])
one(
    "deconvolution_strided_dilated",
    "refused",
    "deconvolution",
    "ConvTranspose",
    weight(8, 4, 3, 3),
    dilations=[2, 2],
    strides=[2, 2],
)
one("convolution_4d", "refused", "convolution", "Conv", weight(8, 8, 1, 1, 1, 1), shape=(1, 8, 4, 4, 4, 4))
one("convolution_1d", None, None, "Conv", weight(8, 8, 3), shape=(1, 8, 4))
one("clip", None, None, "Clip", f32(0), f32(6))
one("argmax", "slow", "tail", "ArgMax", out=T.INT64, axis=1)
one("argmax_last", "slow", "tail", "ArgMax", out=T.INT64, axis=1, select_last_index=1)
one("argmax_vector", "refused", "argmax", "ArgMax", shape=(8,), out=T.INT64, axis=0)
one("top_many", "refused", "topk", "TopK", np.array([4000]), shape=(1, 5000, 2, 2), outputs=2, axis=1)
one("top_unsorted", "note", "topk", "TopK", np.array([1]), outputs=2, axis=1, sorted=0)
one("layer_normalization", None, None, "LayerNormalization", np.ones(8, f32), np.ones(8, f32))
one("layer_statistics", "refused", "normalization", "LayerNormalization", np.ones(8, f32), outputs=3)
one("instance_normalization", None, None, "InstanceNormalization", np.ones(8, f32), np.ones(8, f32))
one(
    "training_normalization",
    "refused",
    "training-mode",
    "BatchNormalization",
    *[np.ones(8, f32)] * 4,
    training_mode=1,
    outputs=3,
)
one("dropout", None, None, "Dropout")
one("training_dropout", "refused", "training-mode", "Dropout", f32(0.5), np.array(True))
one("celu_in_half", "refused", "activation", "Celu", dtype=T.FLOAT16, out=T.FLOAT16)
one("grid", None, None, "GridSample", np.zeros((1, 4, 4, 2), f32))
one("grid_of_volumes", None, None, "GridSample", np.zeros((1, 4, 4, 4, 3), f32), shape=(1, 2, 4, 4, 4))
one("einsum", None, None, "Einsum", np.ones((8, 8), f32), equation="nchw,cd->ndhw")
one("einsum_ellipsis", None, None, "Einsum", np.ones((8, 8), f32), equation="...c,cd->...d")
one("einsum_capitals", "refused", "einsum", "Einsum", np.ones((8, 8), f32), equation="NCHW,CD->NDHW")
one("scatter", None, None, "ScatterND", np.zeros((1, 4), np.int64), np.ones(1, f32))
one("scatter_add", "refused", "scatter", "ScatterND", np.zeros((1, 4), np.int64), np.ones(1, f32), reduction="add")
one(
    "scatter_elements_add",
    "refused",
    "scatter",
    "ScatterElements",
    np.zeros((1, 1, 1, 1), np.int64),
    np.ones((1, 1, 1, 1), f32),
    reduction="add",
)


@fault("refused", "computed-parameter")
def axes_from_outside():
    s = Sketch()
    s.inputs.append(helper.make_tensor_value_info("axes", T.INT64, (1,)))
    return s.model(s.node("ReduceMean", "x", "axes"))


@fault("refused", "computed-parameter")
def unsqueezed_somewhere():
    s = Sketch()
    s.inputs.append(helper.make_tensor_value_info("axes", T.INT64, (1,)))
    return s.model(s.node("Unsqueeze", "x", "axes"))


@fault()
def clip_to_what_is_computed():
    s = Sketch()
    return s.model(s.node("Clip", "x", s.constant(f32(0)), s.node("ReduceMax", "x", keepdims=0)))


@fault("slow", "dynamic-shape")
def size_of_any_height():
    s = Sketch((1, 8, "height", 8))
    return s.model(s.conv("x"))


# Types.

for name, dtype in {"int16": T.INT16, "uint16": T.UINT16, "uint32": T.UINT32, "uint64": T.UINT64}.items():
    one(f"cast_to_{name}", "refused", "type", "Cast", to=dtype, out=dtype)
for name, dtype in {"float16": T.FLOAT16, "bfloat16": T.BFLOAT16, "int64": T.INT64, "bool": T.BOOL}.items():
    one(f"cast_to_{name}", None, None, "Cast", to=dtype, out=dtype)
one("cast_to_float64", "note", "type", "Cast", to=T.DOUBLE, out=T.DOUBLE)
one("cast_to_uint8", None, None, "Cast", to=T.UINT8, out=T.UINT8)


def camera(*before: str) -> onnx.ModelProto:
    """uint8 pixels through these operators, a cast, and a convolution."""
    s, tip = Sketch((1, 8, 8, 3), T.UINT8), "x"
    for op in before:
        tip = s.node(op, tip, **({"perm": [0, 3, 1, 2]} if op == "Transpose" else {}))
    tip = s.node("Cast", tip, to=T.FLOAT)
    if "Transpose" not in before:
        tip = s.node("Transpose", tip, perm=[0, 3, 1, 2])
    return s.model(s.conv(tip, s.weight((8, 3, 3, 3))))


@fault()
def bytes_cast_first():
    return camera()


@fault("refused", "uint8")
def bytes_transposed_first():
    return camera("Transpose")


@fault("refused", "uint8")
def bytes_copied_first():
    return camera("Identity")


@fault("refused", "uint8")
def bytes_between():
    s = Sketch()
    return s.model(s.node("Cast", s.node("Cast", "x", to=T.UINT8), to=T.FLOAT))


@fault("refused", "type")
def half_times_single():
    s = Sketch()
    return s.model(s.conv(s.node("Cast", "x", to=T.FLOAT16)))


# Rounding.


@fault("note", "channels")
def quantized():
    s = Sketch()
    return s.model(s.conv(s.rounded("x"), s.integer_weight()))


@fault()
def quantized_in_packs():
    s = Sketch((1, 32, 8, 8))
    return s.model(s.conv(s.rounded("x"), s.integer_weight((32, 32, 3, 3))))


@fault("refused", "zero-point")
def zero_point():
    s = Sketch()
    return s.model(s.conv(s.rounded("x", zero=np.int8(3)), s.integer_weight()))


@fault("refused", "zero-point")
def unsigned_with_zero_point():
    s = Sketch()
    return s.model(s.conv(s.rounded("x", zero=np.uint8(128)), s.integer_weight()))


@fault("wrong", "uint8-quantization")
def unsigned():
    s = Sketch()
    return s.model(s.conv(s.rounded("x", zero=np.uint8(0)), s.integer_weight()))


@fault("refused", "uint8-quantization")
def unsigned_weights():
    s = Sketch()
    w = s.dequantize(s.constant(np.ones((8, 8, 3, 3), np.uint8)), zero=np.uint8(0))
    return s.model(s.conv(s.rounded("x"), w))


@fault("refused", "uint8-quantization")
def unsigned_pixels():
    s = Sketch(dtype=T.UINT8)
    return s.model(s.conv(s.dequantize("x", zero=np.uint8(0)), s.weight()))


@fault("refused", "uint8-quantization")
def unsigned_by_attribute():
    s = Sketch(opset=21)
    q = s.node("QuantizeLinear", "x", s.constant(f32(0.1)), output_dtype=T.UINT8)
    return s.model(s.node("DequantizeLinear", q, s.constant(f32(0.1))))


@fault("refused", "quantized-type")
def sixteen_bits():
    s = Sketch(opset=21)
    q = s.node("QuantizeLinear", "x", s.constant(f32(0.1)), output_dtype=T.UINT16)
    return s.model(s.node("DequantizeLinear", q, s.constant(f32(0.1))))


@fault()
def without_zero_point():
    s = Sketch((1, 32, 8, 8), opset=20)
    scale = s.constant(f32(0.1))
    x = s.node("DequantizeLinear", s.node("QuantizeLinear", "x", scale), scale)
    return s.model(s.conv(x, s.integer_weight((32, 32, 3, 3))))


@fault("refused", "int32-bias")
def integer_bias():
    s = Sketch()
    numbers = s.constant(np.arange(8, dtype=np.int32))
    bias = s.dequantize(numbers, np.full(8, 0.001, f32), np.zeros(8, np.int32), axis=0)
    return s.model(s.conv(s.rounded("x"), s.integer_weight(), bias=bias))


def scaled(scale: Any) -> onnx.ModelProto:
    s = Sketch(dtype=helper.np_dtype_to_tensor_dtype(np.asarray(scale).dtype))
    return s.model(s.rounded("x", scale), dtype=s.inputs[0].type.tensor_type.elem_type)


@fault("refused", "scale")
def scale_of_zero():
    return scaled(f32(0))


@fault("refused", "scale")
def negative_scale():
    return scaled(f32(-0.1))


@fault("refused", "scale")
def no_number_for_a_scale():
    return scaled(f32("nan"))


@fault("refused", "scale")
def scale_lost_in_float16():
    return scaled(np.float16(1e-8))


@fault("note", "scale")
def scale_worn_in_float16():
    return scaled(np.float16(1e-6))


@fault("wrong", "scale")
def scale_below_what_a_gpu_knows():
    return scaled(f32(1e-40))


@fault("refused", "scale")
def scale_of_one_channel_zero():
    s = Sketch()
    steps = np.array([0.1] * 7 + [0], f32)
    w = s.dequantize(s.constant(np.ones((8, 8, 3, 3), np.int8)), steps, np.zeros(8, np.int8), axis=0)
    return s.model(s.conv(s.rounded("x"), w))


@fault("refused", "scale", crashes=True)
def scale_from_the_input():
    s = Sketch()
    scale, zero = s.node("ReduceMax", "x", keepdims=0), s.constant(np.int8(0))
    q = s.node("QuantizeLinear", "x", scale, zero)
    return s.model(s.node("DequantizeLinear", q, scale, zero))


@fault("slow", "scale")
def scale_from_outside():
    s = Sketch()
    s.inputs.append(helper.make_tensor_value_info("scale", T.FLOAT, ()))
    zero = s.constant(np.int8(0))
    q = s.node("QuantizeLinear", "x", "scale", zero)
    return s.model(s.node("DequantizeLinear", q, "scale", zero))


@fault("refused", "zero-point")
def zero_point_from_outside():
    s = Sketch()
    s.inputs.append(helper.make_tensor_value_info("zero", T.INT8, ()))
    scale = s.constant(f32(0.1))
    q = s.node("QuantizeLinear", "x", scale, "zero")
    return s.model(s.node("DequantizeLinear", q, scale, "zero"))


@fault("slow", "axis")
def activations_per_channel():
    s = Sketch((1, 32, 8, 8))
    x = s.rounded("x", np.full(32, 0.1, f32), np.zeros(32, np.int8), axis=1)
    return s.model(s.conv(x, s.integer_weight((32, 32, 3, 3))))


def weights_with(steps: int, zeros: int, axis: int) -> onnx.ModelProto:
    s = Sketch((1, 32, 8, 8))
    values = s.constant(np.ones((32, 32, 3, 3), np.int8))
    w = s.dequantize(values, np.full(steps, 0.1, f32), np.zeros(zeros, np.int8), axis=axis)
    return s.model(s.conv(s.rounded("x"), w))


@fault("slow", "axis")
def weights_per_input_channel():
    return weights_with(32, 32, 1)


@fault("refused", "axis")
def too_few_scales():
    return weights_with(5, 5, 0)


@fault("refused", "axis")
def too_few_zero_points():
    return weights_with(32, 1, 0)


@fault("note", "weights-per-tensor")
def weights_per_tensor():
    s = Sketch((1, 32, 8, 8))
    return s.model(s.conv(s.rounded("x"), s.integer_weight((32, 32, 3, 3), per_channel=False)))


@fault("slow", "unpaired")
def rounded_and_left():
    s = Sketch()
    return s.model(s.quantize(s.conv("x")), dtype=T.INT8)


@fault("slow", "unpaired")
def integers_from_outside():
    s = Sketch((1, 32, 8, 8), T.INT8)
    return s.model(s.conv(s.dequantize("x"), s.integer_weight((32, 32, 3, 3))))


@fault()
def moved_between_the_pair():
    s = Sketch()
    q = s.node("MaxPool", s.quantize("x"), kernel_shape=[2, 2], strides=[2, 2])
    return s.model(s.dequantize(q))


@fault("note", "fp16-opset")
def half_before_opset_19():
    s = Sketch(dtype=T.FLOAT16, opset=17)
    return s.model(s.rounded("x", np.float16(0.1)), dtype=T.FLOAT16)


@fault("slow", "rtx-depthwise")
def depthwise():
    s = Sketch((1, 32, 8, 8))
    return s.model(s.conv(s.rounded("x"), s.integer_weight((32, 1, 3, 3)), group=32))
