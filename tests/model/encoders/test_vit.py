import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.model.config import EncoderConfig
from wordgaze.model.encoders.build import build_encoder, preprocessing_of


def test_a_vit_saved_and_loaded_from_file_gives_identical_features(tmp_path, pixels):
    network = timm.create_model("test_vit", pretrained=False).eval()
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    encoder = build_encoder(EncoderConfig("test_vit"), str(tmp_path / "vit.safetensors")).eval()
    with torch.no_grad():
        assert torch.equal(encoder(pixels), network.forward_features(pixels)[:, 1:])
    assert encoder.grid == (10, 10)


def test_prefix_tokens_stand_first_when_asked_for(pixels):
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig("test_vit", prefix_tokens=True)).eval()
    assert encoder.num_prefix == 1
    with torch.no_grad():
        assert torch.equal(encoder(pixels), encoder.network.forward_features(pixels))


def test_position_embeddings_are_resampled_to_another_grid(tmp_path):
    network = timm.create_model("test_vit", pretrained=False)
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    encoder = build_encoder(
        EncoderConfig("test_vit", image_size=(96, 128)), str(tmp_path / "vit.safetensors")
    )
    assert encoder.grid == (6, 8)
    assert encoder(torch.zeros(1, 3, 96, 128)).shape == (1, 48, encoder.width)
    assert torch.equal(encoder.network.blocks[0].mlp.fc1.weight, network.blocks[0].mlp.fc1.weight)


def test_the_shared_vit_knows_a_cat(shared_data):
    weights = shared_data / "weights" / "vit_tiny_patch16_224.safetensors"
    network = timm.create_model(
        "vit_tiny_patch16_224", pretrained=True, pretrained_cfg_overlay={"file": str(weights)}
    ).eval()
    transform = PhotoTransform(Preprocessing(crop="center", **preprocessing_of(network)))
    photo = Image.open("demo/cat.jpg").convert("RGB")
    with torch.no_grad():
        pixel_values = transform(photo)[0][None]
        best = network(pixel_values).softmax(-1)[0].topk(3).indices.tolist()
        encoder = build_encoder(EncoderConfig("vit_tiny_patch16_224"), str(weights)).eval()
        assert torch.equal(encoder(pixel_values), network.forward_features(pixel_values)[:, 1:])
    assert set(best) & {281, 282, 285}  # tabby, tiger cat, Egyptian cat
