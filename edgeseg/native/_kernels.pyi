import numpy as np

from edgeseg.native import Window

def upsample_argmax(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    channels_last: bool,
    coordinates: str,
    interpolation: str,
    softmax: bool,
    window: Window,
    scale: float,
    confidence: np.ndarray | None = None,
    frame: np.ndarray | None = None,
    palette: np.ndarray | None = None,
    alpha: float = 0.5,
    picture: np.ndarray | None = None,
) -> None: ...
def frame_to_input(
    frame: np.ndarray, out: np.ndarray, *, swap_channels: bool, letterbox: bool, border: int
) -> None: ...
def overlay(labels: np.ndarray, frame: np.ndarray, palette: np.ndarray, alpha: float, picture: np.ndarray) -> None: ...
