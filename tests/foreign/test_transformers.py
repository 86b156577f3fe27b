"""Networks that transformers saved itself, small ones with weights made up."""

import pytest
import torch

from edgeseg.errors import NetworkError
from edgeseg.foreign import open_foreign

pytestmark = pytest.mark.filterwarnings("ignore")  # its own, of the libraries below it
transformers = pytest.importorskip("transformers")
pytest.importorskip("torchvision")  # its image processors
pytest.importorskip("scipy")  # networks that classify masks
NAMES = {0: "road", 1: "car", 2: "sky"}
NUMBERS = {name: i for i, name in NAMES.items()}


def segformer(**options):
    config = transformers.SegformerConfig(
        depths=[1] * 4,
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1] * 4,
        decoder_hidden_size=16,
        id2label=NAMES,
        label2id=NUMBERS,
    )
    return transformers.SegformerForSemanticSegmentation(config), transformers.SegformerImageProcessor(**options)


def upernet():
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8] * 4, depths=[1] * 4, out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=8, auxiliary_in_channels=8, auxiliary_channels=8, num_labels=3
    )
    return transformers.UperNetForSemanticSegmentation(config), transformers.SegformerImageProcessor()


def mask2former():
    backbone = transformers.SwinConfig(
        embed_dim=8,
        depths=[1] * 4,
        num_heads=[1] * 4,
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone,
        hidden_dim=32,
        feature_size=32,
        mask_feature_size=32,
        num_attention_heads=2,
        encoder_layers=1,
        decoder_layers=2,
        dim_feedforward=16,
        encoder_feedforward_dim=16,
        num_queries=5,
        id2label=NAMES,
        label2id=NUMBERS,
    )
    return transformers.Mask2FormerForUniversalSegmentation(config), transformers.Mask2FormerImageProcessor()


def eomt():
    config = transformers.EomtConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        num_blocks=1,
        num_queries=5,
        num_register_tokens=1,
        id2label=NAMES,
        label2id=NUMBERS,
    )
    return transformers.EomtForUniversalSegmentation(config), transformers.EomtImageProcessor()


def saved(folder, pair):
    network, processor = pair
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return network.eval()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("make", [segformer, upernet, mask2former, eomt])
def test_any_size_gives_logits_at_a_quarter(make, tmp_path):
    saved(tmp_path, make())
    found, _ = open_foreign(f"hf:{tmp_path}")
    assert found.classes == (() if make is upernet else tuple(NAMES.values()))
    assert found.mean == pytest.approx((0.485, 0.456, 0.406))
    stride = found.network.stride
    for size_hw in ((64, 128), (90, 121)):
        with torch.no_grad():
            out = found.network(torch.randn(2, 3, *size_hw)).logits
        assert out.shape == (2, 3, *(-(-n // stride) for n in size_hw)) and out.isfinite().all()
    assert stride in (1, 4)


def test_pixels_are_classified_as_the_library_does(tmp_path):
    network = saved(tmp_path, segformer())
    found, _ = open_foreign(f"hf:{tmp_path}")
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(found.network(images).logits, network(images).logits)


@pytest.mark.parametrize("make", [mask2former, eomt])
def test_masks_are_summed_as_the_library_does(make, tmp_path):
    network = saved(tmp_path, make())
    found, _ = open_foreign(f"hf:{tmp_path}")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        answer = network(images)
        out = found.network(images).logits
    query = answer.class_queries_logits[0].softmax(-1)
    masks = answer.masks_queries_logits[0].sigmoid()
    scores = sum(query[q, :3, None, None] * masks[q] for q in range(5))
    torch.testing.assert_close(out[0].softmax(0), scores / scores.sum(0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "mean", "std"),
    [
        ({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ({"do_normalize": False}, (0, 0, 0), (1, 1, 1)),
        ({"do_normalize": False, "do_rescale": False}, (0, 0, 0), (1 / 255,) * 3),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 127.5}, (0.25,) * 3, (0.25,) * 3),
    ],
)
def test_images_are_normalised_as_its_processor_does(options, mean, std, tmp_path):
    saved(tmp_path, segformer(do_resize=False, **options))
    found, _ = open_foreign(f"hf:{tmp_path}")
    assert found.mean == pytest.approx(mean) and found.std == pytest.approx(std)
    pixels = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path)(pixels, return_tensors="pt")["pixel_values"][0]
    ours = (pixels / 255 - torch.tensor(found.mean).view(3, 1, 1)) / torch.tensor(found.std).view(3, 1, 1)
    torch.testing.assert_close(ours, theirs.float(), atol=1e-4, rtol=1e-4)


def test_a_network_that_takes_bgr_gets_it(tmp_path):
    config = transformers.MobileViTConfig(
        hidden_sizes=[8, 8, 8], neck_hidden_sizes=[8] * 7, num_attention_heads=1, num_labels=3, aspp_out_channels=8
    )
    processor = transformers.MobileViTImageProcessor()
    network = saved(tmp_path, (transformers.MobileViTForSemanticSegmentation(config), processor))
    found, _ = open_foreign(f"hf:{tmp_path}")
    assert found.std == (1.0, 1.0, 1.0)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(found.network(images).logits, network(images.flip(1)).logits)


def test_what_was_not_trained_to_segment_is_refused(tmp_path):
    network, processor = segformer()
    saved(tmp_path, (network.segformer, processor))
    with pytest.raises(NetworkError, match=r"no weights for .*would teach noise"):
        open_foreign(f"hf:{tmp_path}")
    bert = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    saved(tmp_path / "text", (transformers.BertModel(bert), processor))
    with pytest.raises(NetworkError, match="is a bert"):
        open_foreign(f"hf:{tmp_path / 'text'}")
