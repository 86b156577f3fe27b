"""Networks of Hugging Face transformers, from the hub or a folder, https://huggingface.co/docs/transformers.

Two kinds. Those that classify pixels (SegFormer, UperNet, BEiT, DPT, MobileViT, ...) have logits. Those that classify
masks (MaskFormer, Mask2Former, EoMT) have queries, each with a class and a mask; Cheng et al. 2021, "Per-Pixel
Classification is Not All You Need for Semantic Segmentation", https://arxiv.org/abs/2107.06278, section 3.4, sums
class probability times mask probability over the queries, and so does this: its logarithm are the logits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgeseg.errors import BackendMissing, NetworkError
from edgeseg.foreign import RGB, Foreign, Reading
from edgeseg.framing import Padded, Windowed
from edgeseg.outputs import Outputs

__all__ = ["hf"]

MULTIPLE = 32  # patches of 14 to 16 pixels, and strides to 32
# Position embeddings of one size of image, which is the only one that they are right for.
FIXED = {"beit", "data2vec-vision", "dpt", "eomt", "eomt_dinov3"}
LEAST = 1e-6  # a score that float16 still tells from 0: what no query claims is not impossible


def hf(where: str) -> Foreign:
    """A hub name, such as ``nvidia/segformer-b5-finetuned-cityscapes-1024-1024``, or a folder that
    ``save_pretrained`` wrote. Images are normalised as its image processor says; its resizing is left to ``--scale``,
    but for networks of one size, which see windows of it.
    """
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(where)
        processor = transformers.AutoImageProcessor.from_pretrained(where)
        network = _loaded(transformers, where, config)
    except NetworkError:
        raise
    except ImportError as e:  # what it finds missing when it builds one network or another: scipy, torchvision
        reason = " ".join(str(e).split())[:300]
        raise BackendMissing(f"hf: {where!r} needs more: pip install 'edgeseg[teachers]' ({reason})") from e
    except (OSError, ValueError) as e:
        raise NetworkError(f"hf: {where!r} cannot be opened: {' '.join(str(e).split())[:300]}") from e
    size = getattr(config, "image_size", None) if config.model_type in FIXED else None
    size_hw = (size, size) if isinstance(size, int) else tuple(size) if size else (4 * MULTIPLE, 4 * MULTIPLE)
    reading: nn.Module = Reading(network, _logits, size_hw)
    if getattr(processor, "do_flip_channel_order", False):
        reading = Flipped(reading)
    mean, std = _normalisation(processor)
    return Foreign(
        network=Windowed(reading, size_hw) if size else Padded(reading, MULTIPLE),
        classes=_classes(config.id2label),
        mean=mean,
        std=std,
    )


class Flipped(nn.Module):
    """A network that takes BGR."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.stride = network.stride

    def forward(self, images: Tensor) -> Outputs:
        outputs: Outputs = self.network(images.flip(1))
        return outputs


def _loaded(transformers: Any, where: str, config: Any) -> nn.Module:
    """The network with all its weights. Raises NetworkError where some are missing or it labels no pixels."""
    mappings = {
        transformers.AutoModelForSemanticSegmentation: transformers.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING,
        transformers.AutoModelForUniversalSegmentation: transformers.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING,
    }
    makers = [maker for maker, known in mappings.items() if type(config) in known]
    if not makers or config.model_type in ("oneformer", "detr", "videomt"):
        raise NetworkError(f"hf: {where!r} is a {config.model_type}, which takes one image and labels its pixels not")
    network, info = makers[0].from_pretrained(where, output_loading_info=True)
    untrained = [*info["missing_keys"], *info["mismatched_keys"]]
    if untrained:
        raise NetworkError(
            f"hf: {where!r} holds no weights for {len(untrained)} parts of {type(network).__name__}, "
            f"{untrained[0]!r} among them: it was not trained to segment, and would teach noise"
        )
    loaded: nn.Module = network
    return loaded


def _logits(answer: Any) -> Tensor:
    if "masks_queries_logits" not in answer:
        logits: Tensor = answer.logits
        return logits
    classes = answer.class_queries_logits.float().softmax(-1)[..., :-1]  # (N, Q, K): the last is "no object"
    masks = answer.masks_queries_logits.float().sigmoid()  # (N, Q, h, w)
    return torch.einsum("nqk,nqhw->nkhw", classes, masks).clamp_min(LEAST).log()


def _normalisation(processor: Any) -> tuple[RGB, RGB]:
    """Mean and standard deviation of pixel / 255, whatever the processor multiplies pixels by."""
    scale = 255 * (processor.rescale_factor if processor.do_rescale else 1.0)
    normalises = getattr(processor, "do_normalize", False)
    mean, std = (processor.image_mean, processor.image_std) if normalises else ((0.0,) * 3, (1.0,) * 3)
    a, b, c = (round(float(x) / scale, 9) for x in mean)
    d, e, f = (round(float(x) / scale, 9) for x in std)
    return (a, b, c), (d, e, f)


def _classes(id2label: Mapping[int, str]) -> tuple[str, ...]:
    """Names in the order of the numbers; none where all are the library's placeholders."""
    names = tuple(id2label[i] for i in sorted(id2label))
    return () if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names
