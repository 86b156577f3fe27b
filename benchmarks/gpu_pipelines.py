"""Ways from a camera's frame to its label map on an NVIDIA GPU: ours, and torch's with the same weights.

Each is a class whose instances take a uint8 frame (H, W, 3), RGB, in host memory and return uint8 labels (H, W) in host
memory, with every copy between the two in it; after a call ``device_ms`` is what CUDA events say of its part on the
device, copies included, or None where nobody could ask. Torch's pipelines differ in three things: what they compute in
(``Mode``), how their operations are launched (one by one, as a captured CUDA graph, or compiled by Inductor), and where
the last stage is: upsampling and argmax on the device, or coarse logits copied back for our kernel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg.bundle import Bundle
from edgeseg.contract import Contract
from edgeseg.pixels import upsample_argmax
from edgeseg.segmenter import Segmenter
from edgeseg.target import Target


@dataclass(frozen=True, kw_only=True)
class Mode:
    """What a network computes in. TF32 is off unless it is said: torch itself has it on for convolutions."""

    dtype: torch.dtype = torch.float32
    tf32: bool = False
    autocast: torch.dtype | None = None
    channels_last: bool = True

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Inside, torch computes so. TF32 is a setting of the process, so it is set at each call."""
        torch.backends.cuda.matmul.allow_tf32 = self.tf32  # Inductor reads these, not the newer fp32_precision
        torch.backends.cudnn.allow_tf32 = self.tf32
        device = "cuda" if torch.cuda.is_available() else "cpu"
        automatic = contextlib.nullcontext() if self.autocast is None else torch.autocast(device, self.autocast)
        with torch.inference_mode(), automatic:
            yield


MODES = {
    "fp32": Mode(),
    "tf32": Mode(tf32=True),
    "fp16": Mode(dtype=torch.float16),
    "fp16, contiguous": Mode(dtype=torch.float16, channels_last=False),
    "bf16": Mode(dtype=torch.bfloat16),
    "fp16 autocast": Mode(autocast=torch.float16),
}


class Network(nn.Module):
    """Pixels uint8 (1, H, W, 3) to labels uint8 (H, W); with ``coarse`` to float32 logits (1, K, h, w) instead."""

    def __init__(self, network: nn.Module, contract: Contract, mode: Mode, *, coarse: bool) -> None:
        super().__init__()
        layout = torch.channels_last if mode.channels_last else torch.contiguous_format
        self.network = network.to(mode.dtype).to(memory_format=layout)
        self.register_buffer("mean", 255 * torch.tensor(contract.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(contract.std).view(1, 3, 1, 1))
        self.size_hw, self.mode, self.coarse, self.layout = contract.size_hw, mode, coarse, layout

    def forward(self, pixels: Tensor) -> Tensor:
        images = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        logits: Tensor = self.network(images.to(self.mode.dtype, memory_format=self.layout)).logits
        if self.coarse:
            return logits.float().contiguous()
        full = F.interpolate(logits, self.size_hw, mode="bilinear")
        return full.argmax(1)[0].to(torch.uint8)


class Eager:
    """Operation by operation, from pageable host memory and back, as one writes it first; ``pinned`` copies through
    page-locked buffers, without waiting in between."""

    def __init__(self, network: Network, device: torch.device, *, pinned: bool = False) -> None:
        if pinned and device.type != "cuda":
            raise RuntimeError("page-locked memory needs a CUDA GPU")
        if network.mode.tf32 and device.type != "cuda":
            raise RuntimeError("TF32 needs a CUDA GPU")
        self.network, self.device, self.call = network.to(device).eval(), device, self.network_call
        self.given: Tensor | None = None
        self.answer: Tensor | None = None
        self.pinned, self.device_ms = pinned, None
        self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
        self.labels = np.empty(network.size_hw, np.uint8)

    def network_call(self, pixels: Tensor) -> Tensor:
        answer: Tensor = self.network(pixels)
        return answer

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        with self.network.mode():
            answer = self.through_pinned(frame) if self.pinned else self.through_pageable(frame)
        if self.events:
            self.device_ms = self.events[0].elapsed_time(self.events[1])
        if self.network.coarse:
            return upsample_argmax(answer[0], self.network.size_hw, out=self.labels)
        return answer

    def through_pageable(self, frame: np.ndarray) -> np.ndarray:
        with self.between_events():
            answer = self.call(torch.from_numpy(frame)[None].to(self.device)).cpu()
        return np.asarray(answer.numpy())

    def through_pinned(self, frame: np.ndarray) -> np.ndarray:
        if self.given is None:
            self.given = torch.empty((1, *frame.shape), dtype=torch.uint8, pin_memory=True)
        np.copyto(self.given.numpy()[0], frame)
        with self.between_events():
            self.launch()
        assert self.answer is not None
        return np.asarray(self.answer.numpy())

    def launch(self) -> None:
        assert self.given is not None
        answer = self.call(self.given.to(self.device, non_blocking=True))
        if self.answer is None:
            self.answer = torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True)
        self.answer.copy_(answer, non_blocking=True)

    @contextlib.contextmanager
    def between_events(self) -> Iterator[None]:
        if self.events:
            self.events[0].record()
        yield
        if self.events:
            self.events[1].record()
            self.events[1].synchronize()


class Captured(Eager):
    """One CUDA graph of it all, copies included, captured once and launched as one."""

    def __init__(self, network: Network, device: torch.device) -> None:
        super().__init__(network, device, pinned=True)
        self.graph: torch.cuda.CUDAGraph | None = None

    def launch(self) -> None:
        if self.graph is None:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):  # allocations, and cuDNN's choice of kernels
                    super().launch()
            torch.cuda.current_stream().wait_stream(stream)
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                super().launch()
        self.graph.replay()


class Compiled(Eager):
    """torch.compile with CUDA graphs, in one of the two of its modes that have them."""

    def __init__(self, network: Network, device: torch.device, mode: str) -> None:
        if device.type != "cuda":
            raise RuntimeError(f"torch.compile's {mode} is CUDA graphs, which need a CUDA GPU")
        super().__init__(network, device, pinned=True)
        self.compiled: Callable[[Tensor], Tensor] = torch.compile(self.network, mode=mode)
        self.call = self.next_step

    def next_step(self, pixels: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()  # the answer before has been copied out
        return self.compiled(pixels)


class Ours:
    """A bundle's Segmenter. Its engine's buffers are page-locked; its three stages are timed on the host."""

    STAGES = ("prepare", "infer", "labels")
    device_ms = None

    def __init__(self, bundle: Bundle, target: Target) -> None:
        self.segmenter = Segmenter.load(bundle, target)
        self.library = self.segmenter.engine.library

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        return self.segmenter(frame)
