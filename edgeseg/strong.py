"""Colours changed strongly, geometry left alone: how a network is asked the same thing twice.

Jitter of brightness, contrast, saturation and hue, grey, and blur, each by chance, as in Yang et al. 2023, "Revisiting
Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation" (UniMatch), https://arxiv.org/abs/2208.09910,
section 4.1, after SimCLR; there for pretrained networks of 40 million parameters, here as strongly as one asks.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from edgeseg.augment import recolor

JITTERED, GREYED, BLURRED = 0.8, 0.2, 0.5  # how often
COLOR, HUE = 0.5, 0.25  # brightness, contrast and saturation by at most half, hue by a quarter of the circle
SIGMA = (0.1, 2.0)  # pixels


def strong(image: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Another look of an image uint8 (H, W, 3). ``strength`` is the share of the authors' jitter, and of how often they
    grey and blur: 0 leaves it as it is."""
    picture = Image.fromarray(image)
    if rng.random() < JITTERED:
        factors = 1 + strength * COLOR * rng.uniform(-1, 1, 3)
        picture = Image.fromarray(recolor(picture, *factors.tolist()))
        picture = turned(picture, round(255 * strength * HUE * rng.uniform(-1, 1)))
    if rng.random() < strength * GREYED:
        picture = picture.convert("L").convert("RGB")
    if rng.random() < strength * BLURRED:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(*SIGMA)))
    return np.asarray(picture)


def turned(picture: Image.Image, by: int) -> Image.Image:
    """Hues moved along their circle, which has 256 steps."""
    if not by:  # there and back again rounds
        return picture
    hue, saturation, value = picture.convert("HSV").split()
    hue = hue.point([(h + by) % 256 for h in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
