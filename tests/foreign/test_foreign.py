"""What every kind of teacher from elsewhere promises, and weights in files."""

import inspect
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeseg import catalogue, doctor, foreign
from edgeseg.errors import BackendMissing, NetworkError, UserError
from edgeseg.foreign import Reading, fill, is_foreign, num_classes_of, open_foreign, read_weights, triple


@pytest.mark.parametrize("kind", foreign.kinds())
def test_a_kind_takes_a_place_and_options_as_text(kind):
    loader = catalogue.entries(foreign)[kind]
    where, *options = inspect.signature(loader).parameters.values()
    assert where.name == "where"
    assert all((o.kind is o.KEYWORD_ONLY and o.default == "") or o.name == "color" for o in options)
    with pytest.raises(NetworkError, match="has no option 'maen'"):
        open_foreign(f"{kind}:x?maen=0")
    with pytest.raises(NetworkError, match=f"as {kind}:WHERE"):
        open_foreign(f"{kind}:")


@pytest.mark.parametrize("kind", foreign.kinds())
def test_what_is_not_there_is_the_users_to_put_right(kind, tmp_path):
    with pytest.raises(UserError):
        open_foreign(f"{kind}:{tmp_path}/nothing:here")


@pytest.mark.parametrize(
    ("spec", "module"),
    [
        ("smp:unet/resnet18:w.pth", "segmentation_models_pytorch"),
        ("torchvision:fcn_resnet50", "torchvision"),
        ("hf:./x", "transformers"),
    ],
)
def test_a_missing_library_comes_with_its_pip_line(spec, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendMissing, match=rf"{module}.*pip install 'edgeseg\[teachers\]'"):
        open_foreign(spec)
    assert module in doctor.EXTRAS["teachers"]


def test_a_folder_is_a_run_and_a_kind_is_not():
    assert is_foreign("hf:./dir") and is_foreign("onnx:m.onnx?mean=0&std=1")
    assert not is_foreign("runs/teacher") and not is_foreign("hf") and not is_foreign("runs/12:30")


def test_numbers():
    assert triple("mean", "0.1,0.2,0.3", (0, 0, 0)) == (0.1, 0.2, 0.3)
    assert triple("mean", "0.5", (0, 0, 0)) == (0.5, 0.5, 0.5)
    assert triple("mean", "", (1, 2, 3)) == (1, 2, 3)
    for wrong in ("a", "1,2", "1,2,3,4"):
        with pytest.raises(NetworkError, match="three numbers"):
            triple("mean", wrong, (0, 0, 0))


WEIGHTS = {"head.weight": torch.ones(5, 3, 1, 1), "head.bias": torch.zeros(5)}


def test_weights_are_found_as_trainers_wrap_them(tmp_path):
    torch.save(WEIGHTS, tmp_path / "plain.pth")
    torch.save({"state_dict": {f"model.{k}": v for k, v in WEIGHTS.items()}, "epoch": 3}, tmp_path / "lightning.ckpt")
    torch.save({f"module.{k}": v for k, v in WEIGHTS.items()}, tmp_path / "parallel.pth")
    save_file(WEIGHTS, tmp_path / "plain.safetensors")
    for file in tmp_path.iterdir():
        found = read_weights(file)
        assert found.keys() == WEIGHTS.keys(), file
        assert num_classes_of(found, ("none.weight", "head.weight"), file) == 5


def test_files_without_weights_are_told(tmp_path):
    torch.save(nn.Conv2d(1, 1, 1), tmp_path / "module.pth")  # code in a file is not run
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    (tmp_path / "text.pth").write_text("no")
    (tmp_path / "text.safetensors").write_text("no")
    for file in tmp_path.iterdir():
        with pytest.raises(NetworkError, match=r"state_dict\(\)"):
            read_weights(file)
    with pytest.raises(NetworkError, match="does not exist"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(NetworkError, match="of another network"):
        num_classes_of(WEIGHTS, ("classifier.weight",), tmp_path)
    with pytest.raises(NetworkError, match="does not fit"):
        fill(nn.Conv2d(1, 1, 1), WEIGHTS, tmp_path)


def test_the_stride_is_that_of_the_logits():
    assert Reading(nn.AvgPool2d(8), lambda x: x, (64, 64)).stride == 8
