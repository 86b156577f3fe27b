"""Networks that torchvision built, their weights in a file."""

import urllib.error

import pytest
import torch

from edgeseg.errors import NetworkError
from edgeseg.foreign import open_foreign

pytestmark = pytest.mark.filterwarnings("ignore")  # its own
models = pytest.importorskip("torchvision.models")
NAME = "lraspp_mobilenet_v3_large"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return models.get_model(NAME, weights=None, weights_backbone=None, num_classes=4).eval()


def test_a_file_gives_the_network_that_was_saved(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "w.pth")
    found, _ = open_foreign(f"torchvision:{NAME}:{tmp_path / 'w.pth'}?mean=0.5&std=0.5")
    assert (found.network.stride, found.mean, found.classes) == (1, (0.5, 0.5, 0.5), ())
    images = torch.randn(1, 3, 50, 70)
    with torch.no_grad():
        torch.testing.assert_close(found.network(images).logits, network(images)["out"])


def test_its_own_weights_bring_their_classes(network, monkeypatch):
    monkeypatch.setattr(models, "get_model", lambda name, weights: network)  # 13 MB, from the network
    found, _ = open_foreign(f"torchvision:{NAME}")
    assert found.classes[:2] == ("__background__", "aeroplane") and len(found.classes) == 21


def test_mistakes_are_told(network, tmp_path, monkeypatch):
    torch.save(network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(NetworkError, match="no segmentation network 'resnet18', only"):
        open_foreign("torchvision:resnet18")
    with pytest.raises(NetworkError, match="does not fit"):
        open_foreign(f"torchvision:fcn_resnet50:{tmp_path / 'w.pth'}")

    def offline(name, weights):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(models, "get_model", offline)
    with pytest.raises(NetworkError, match="cannot be downloaded: no route"):
        open_foreign(f"torchvision:{NAME}:DEFAULT")
