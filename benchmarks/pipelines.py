"""Ways from a camera's frame to its label map: ours, and what people do otherwise with the same weights.

Each is a class whose instances take uint8 frames (H, W, 3), RGB, of one size and return uint8 labels (H, W). All but
``Ours`` have the upsampling and the argmax where their makers put them. Every one gets its input the fastest way its
own library offers, and as many threads as the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import openvino.opset15 as ops
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from openvino.preprocess import PrePostProcessor
from torch import nn

from edgeseg.backends.onnxruntime import prefer_integers
from edgeseg.contract import Contract
from edgeseg.data import open_dataset
from edgeseg.graph import onnx_file, passes
from edgeseg.graph.deploy import deploy
from edgeseg.graph.head import take_pixels
from edgeseg.pixels import resize
from edgeseg.segmenter import Segmenter


class Ours:
    """A bundle's Segmenter; ``stages`` are its three steps, for timing them apart."""

    def __init__(self, bundle: Path, backend: str, precision: str, threads: int) -> None:
        self.segmenter = Segmenter.load(bundle, backend, precision=precision, threads=threads)  # type: ignore[arg-type]

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        return self.segmenter(frame)


class OpenvinoGraph:
    """OpenVINO with resize and argmax in the graph, and a PrePostProcessor that takes the frame.

    With ``coarse`` the argmax comes first and its labels are repeated: the cheap way out.
    """

    def __init__(
        self, model: ov.Model, contract: Contract, threads: int, *, precision: str, coarse: bool = False
    ) -> None:
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout("NCHW"))
        steps.input().preprocess().convert_element_type(ov.Type.f32).mean([255 * m for m in contract.mean]).scale(
            [255 * s for s in contract.std]
        )
        steps.output().tensor().set_element_type(ov.Type.u8)
        hint = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}[precision]
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
        self.request = ov.Core().compile_model(steps.build(), "CPU", options).create_infer_request()
        self.stride = contract.stride if coarse else 1

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        self.request.infer({0: frame[None]}, share_inputs=True)
        labels = self.request.get_output_tensor(0).data[0]
        return labels if self.stride == 1 else labels.repeat(self.stride, 0).repeat(self.stride, 1)


class OnnxRuntimeGraph:
    """ONNX Runtime with everything in the graph: cast, normalisation, network, resize and argmax."""

    def __init__(self, model: onnx.ModelProto, threads: int, *, stride: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        prefer_integers(model)
        self.session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.stride = stride

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        labels: np.ndarray = self.session.run(None, {"image": frame[None]})[0][0]
        return labels if self.stride == 1 else labels.repeat(self.stride, 0).repeat(self.stride, 1)


class Compiled:
    """torch.compile over normalisation, network, resize and argmax, in float32."""

    def __init__(self, network: nn.Module, contract: Contract) -> None:
        mean, std = (255 * torch.tensor(v).view(1, 3, 1, 1) for v in (contract.mean, contract.std))
        network = network.eval().to(memory_format=torch.channels_last)

        def frame_to_labels(frame: torch.Tensor) -> torch.Tensor:
            images = (frame.permute(2, 0, 1)[None].float() - mean) / std
            logits = network(images).logits
            return F.interpolate(logits, contract.size_hw, mode="bilinear").argmax(1)[0].to(torch.uint8)

        self.call = torch.compile(frame_to_labels)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            labels: np.ndarray = self.call(torch.from_numpy(frame)).numpy()
        return labels


class Ultralytics:
    """Their semantic model through their own ``predict``; another network, so its time stands beside its own."""

    def __init__(self, model: Any, size_hw: tuple[int, int]) -> None:
        self.model, self.size_hw = model, size_hw

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        found = self.model.predict(frame[..., ::-1], imgsz=self.size_hw, device="cpu", verbose=False)[0]
        return np.asarray(found.cpu().numpy().semantic_mask.data).astype(np.uint8)


def float_graph(network: nn.Module, contract: Contract) -> onnx.ModelProto:
    """Normalised images to logits, float."""
    return onnx_file.trace(deploy(network), contract)


def int8_graph(quantized: nn.Module, contract: Contract) -> onnx.ModelProto:
    """Normalised images to logits, in the unsigned form that CPUs run fastest."""
    return passes.to_u8(onnx_file.trace(deploy(quantized), contract))


def with_frame(model: onnx.ModelProto, contract: Contract) -> onnx.ModelProto:
    """Cast, transpose and normalisation in front."""
    return take_pixels(model, contract)


def with_tail(model: onnx.ModelProto, contract: Contract, *, coarse: bool = False) -> onnx.ModelProto:
    """Bilinear resize to the contract's size and argmax behind; with ``coarse`` the argmax alone. uint8 labels."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    (logits,) = (o.name for o in graph.output)
    if not coarse:
        size = np.array([1, len(contract.classes), *contract.size_hw], np.int64)
        graph.initializer.append(numpy_helper.from_array(size, "tail.size"))
        graph.node.append(
            helper.make_node(
                "Resize",
                [logits, "", "", "tail.size"],
                ["tail.full"],
                mode="linear",
                coordinate_transformation_mode="half_pixel",
            )
        )
    graph.node.append(
        helper.make_node("ArgMax", [logits if coarse else "tail.full"], ["tail.index"], axis=1, keepdims=0)
    )
    graph.node.append(helper.make_node("Cast", ["tail.index"], ["tail.labels"], to=TensorProto.UINT8))
    _, _, h, w = contract.output_shape
    shape = [1, *((h, w) if coarse else contract.size_hw)]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("tail.labels", TensorProto.UINT8, shape))
    return model


def identity(contract: Contract) -> onnx.ModelProto:
    """Logits to logits: for a tail alone."""
    shape = contract.output_shape
    graph = helper.make_graph(
        [helper.make_node("Identity", ["logits"], ["same"])],
        "identity",
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def tailed_openvino(model: ov.Model, contract: Contract, *, coarse: bool = False) -> ov.Model:
    """What ``with_tail`` adds, in OpenVINO's own operations."""
    scores = model.output(0).get_node().input_value(0)
    if not coarse:
        size = ops.constant(np.array(contract.size_hw, np.int64))
        axes = ops.constant(np.array([2, 3], np.int64))
        scores = ops.interpolate(
            scores, size, "linear_onnx", "sizes", axes=axes, coordinate_transformation_mode="half_pixel"
        )
    best = ops.topk(scores, ops.constant(np.int64(1)), 1, "max", "index")
    return ov.Model([ops.squeeze(best.output(1), ops.constant(np.int64(1)))], model.get_parameters(), "tailed")


def openvino_model(model: onnx.ModelProto, folder: Path, name: str) -> ov.Model:
    onnx.save(model, folder / f"{name}.onnx")
    return ov.Core().read_model(folder / f"{name}.onnx")


def nncf_int8(model: ov.Model, images: list[np.ndarray]) -> ov.Model:
    """Post-training quantization of a graph from normalised images to logits, with NNCF's defaults."""
    import nncf

    return nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))


def ultralytics(description: str, size_hw: tuple[int, int], data: str, threads: int, folder: Path) -> dict[str, Any]:
    """Their way, in torch and in OpenVINO, and the same network adopted as a bundle."""
    from ultralytics import YOLO

    from edgeseg.adopt import adopt

    torch.manual_seed(0)
    model = YOLO(description)
    if Path(description).suffix == ".yaml":
        wake(model.model, data, size_hw)
    name = Path(description).stem
    exported = {}
    for kind in ("onnx", "openvino"):
        made = Path(model.export(format=kind, imgsz=size_hw, verbose=False))
        exported[kind] = made.rename(folder / made.name)
    names = list(model.names.values())
    pixels = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}  # p / 255
    adopted = adopt(exported["onnx"], classes=names, data=data, out=folder / "adopted", **pixels)
    return {
        f"{name}, Ultralytics' predict in torch": Ultralytics(model, size_hw),
        f"{name}, Ultralytics' predict in openvino": Ultralytics(YOLO(exported["openvino"], task="semantic"), size_hw),
        f"{name}, adopted, openvino fp32": Ours(adopted.bundle.path, "openvino", "fp32", threads),
    }


def wake(network: nn.Module, data: str, size_hw: tuple[int, int]) -> None:
    """Let random weights answer more than one class: statistics of real frames, and logits that are level.

    They take as long as trained ones, but labels of a single class would prove nothing.
    """
    dataset = open_dataset(data, "val")
    frames = np.stack([resize(dataset[i].image, size_hw) for i in np.linspace(0, len(dataset) - 1, 4).astype(int)])
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    *_, last = network.model[-1].classifier  # (64, K), 1x1
    seen: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda module, given, made: seen.append(made))
    with torch.no_grad():
        network.train()
        for _ in range(20):
            network(images)
        network.eval()(images)
        hook.remove()
        mean, std = seen[-1].mean((0, 2, 3)), seen[-1].std((0, 2, 3))
        last.weight /= std.view(-1, 1, 1, 1)
        last.bias.copy_((last.bias - mean) / std)
