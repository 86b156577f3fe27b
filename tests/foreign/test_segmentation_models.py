"""Networks that segmentation-models-pytorch saved itself."""

import pytest
import torch

from edgeseg.errors import NetworkError
from edgeseg.foreign import IMAGENET_MEAN, open_foreign

pytestmark = pytest.mark.filterwarnings("ignore")  # its own, of the libraries below it
models = pytest.importorskip("segmentation_models_pytorch")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return models.create_model("unet", "mobilenet_v2", encoder_weights=None, classes=4).eval()


@pytest.fixture
def saved(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "w.pth")
    network.save_pretrained(str(tmp_path / "folder"))
    return tmp_path


def test_a_file_and_a_folder_give_the_network_that_was_saved(network, saved):
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = network(images)
        for spec in (f"smp:unet/mobilenet_v2:{saved / 'w.pth'}", f"smp:{saved / 'folder'}"):
            found, _ = open_foreign(spec)
            assert (found.network.stride, found.mean, found.classes) == (1, IMAGENET_MEAN, ())
            torch.testing.assert_close(found.network(images).logits, expected)
            assert found.network(images[..., :50, :70]).logits.shape == (1, 4, 50, 70)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("unet/mobilenet_v3:{}/w.pth", "cannot build"),
        ("unett/mobilenet_v2:{}/w.pth", "cannot build"),
        ("unet/resnet18:{}/w.pth", "does not fit"),
        ("unet/mobilenet_v2", "no folder or hub name"),
    ],
)
def test_mistakes_are_told(name, says, saved):
    with pytest.raises(NetworkError, match=says):
        open_foreign(f"smp:{name.format(saved)}")
