"""Nothing here asks a hub: what is not on the disk is not there."""

import pytest


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError:
        return
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
