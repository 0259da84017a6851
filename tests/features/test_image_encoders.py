"""Image encoders: HOG and HSV by hand, networks against loops in float64 and against PyTorch."""

import hashlib
import io

import numpy as np
import pytest
import safetensors.numpy

from gpldan_jax.features import hog_hsv, network_encoder, networks, read_image
from tests.features import networks as small

ROUNDING = 1e-5  # float32 against float64, of the largest feature
PEER = 1e-4  # against PyTorch's features, of the largest feature


def test_features_of_a_picture_known_by_hand():
    pytest.importorskip("skimage", reason="the features need scikit-image")
    picture = np.full((1, 64, 64, 3), 255, np.uint8)
    picture[:, :16, 16:32] = (0, 255, 0)
    features = hog_hsv(picture)[0]
    expected = np.zeros((16, 6, 2, 2))
    expected[:, 0, 0, 1] = 1  # white: no hue, no saturation, full value
    expected[1] = 0
    expected[1, 2, 1, 1] = 1  # green is a third of the way round: bin 2 of 6
    np.testing.assert_array_equal(features[1568:].reshape(16, 6, 2, 2), expected)
    blocks = features[:1568].reshape(7, 7, 4 * 8)
    assert (blocks[0, 0] > 0).any()
    assert (blocks[3:] == 0).all()  # rows of cells without an edge


def test_each_picture_is_taken_by_itself_and_rounded_as_the_shipped_ones():
    pytest.importorskip("skimage", reason="the features need scikit-image")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    features = hog_hsv(pictures)
    assert features.dtype == np.float32 and features.min() >= 0 and features.max() <= 1
    np.testing.assert_array_equal(features, features.astype(np.float16))
    np.testing.assert_array_equal(features, np.concatenate([hog_hsv(pictures[i : i + 1]) for i in range(3)]))
    np.testing.assert_array_equal(features, hog_hsv(list(pictures)))
    assert hog_hsv(pictures[:0]).shape == (0, 1952)


def test_other_pictures_are_refused():
    pytest.importorskip("skimage", reason="the features need scikit-image")
    with pytest.raises(ValueError, match=r"\(n, 64, 64, 3\), found \(2, 32, 32, 3\)"):
        hog_hsv(np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(TypeError, match="uint8, found float64"):
        hog_hsv(np.zeros((2, 64, 64, 3)))


@pytest.fixture
def alexnet_file(tmp_path, monkeypatch):
    """Weights of a network of AlexNet's name and few channels."""
    layers = [networks.Convolution(4, kernel=11, stride=8, padding=2, pool=3), networks.Convolution(2, pool=3)]
    architecture = networks.Architecture(tuple(layers), linear=("classifier.1", "classifier.4"))
    monkeypatch.setitem(networks.ARCHITECTURES, "alexnet", architecture)
    network = networks.ImageNetwork(architecture.convolutions)
    weights = small.state_dict(network, networks.SIDE)
    renamed = {
        name.replace("classifier.3", "classifier.4").replace("classifier.0", "classifier.1"): array
        for name, array in weights.items()
    }
    safetensors.numpy.save_file(renamed, tmp_path / "alexnet.safetensors")
    return tmp_path / "alexnet.safetensors", network, weights


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["torchvision", "caffe"])
def test_the_encoder_scales_as_the_weights_expect(alexnet_file, scaling):
    path, network, weights = alexnet_file
    encode = network_encoder("alexnet", path, scaling=scaling, batch=2)
    shown = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    if scaling == "torchvision":
        scaled = (shown / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    else:
        scaled = shown[..., ::-1] - np.array([103.939, 116.779, 123.68])
    expected = np.stack([small.loop(network, weights, picture) for picture in scaled])
    found = encode(list(shown))  # a batch and a half
    np.testing.assert_allclose(found, expected, atol=ROUNDING * expected.max())
    assert found.dtype == np.float32 and encode([]).shape == (0, 4096)
    np.testing.assert_array_equal(encode(shown[2:]), found[2:])


@pytest.mark.slow
def test_the_encoder_says_what_it_is(alexnet_file):
    path, _, _ = alexnet_file
    assert network_encoder("alexnet", path, rectified=False).description == {
        "extractor": "alexnet",
        "layer": "fc7",
        "rectified": False,
        "weights": {"file": "alexnet.safetensors", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        "preprocessing": {"shorter_side": 256, "centre": 224, "scaling": "torchvision"},
    }
    assert (network_encoder("alexnet", path, rectified=False)([np.zeros((224, 224, 3), np.uint8)]) < 0).any()


@pytest.mark.slow
def test_the_encoder_names_the_file_and_the_layer(alexnet_file):
    path, _, _ = alexnet_file
    with pytest.raises(ValueError, match=rf"^{path}: expected weights of vgg19; the first .* features\.0\.weight: "):
        network_encoder("vgg19", path)
    with pytest.raises(ValueError, match="unknown scaling 'imagenet'; expected one of torchvision, caffe"):
        network_encoder("alexnet", path, scaling="imagenet")
    with pytest.raises(OSError, match=r"missing\.pth"):
        network_encoder("alexnet", path.with_name("missing.pth"))


def _files():
    """Pictures of odd sizes and modes, as files."""
    from PIL import Image

    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(0, 256, (9, 13, 3), np.uint8))

    def saved(picture, form, **settings):
        file = io.BytesIO()
        picture.save(file, form, **settings)
        return file.getvalue()

    turned = Image.Exif()
    turned[0x0112] = 6
    big = smooth.resize((511, 377), Image.Resampling.BICUBIC)
    alpha = np.dstack([np.asarray(big), np.linspace(0, 255, 511 * 377).reshape(377, 511).astype(np.uint8)])
    grey16 = Image.fromarray(np.asarray(big.convert("L")).astype(np.uint16) * 257)
    return {
        "large": saved(big, "JPEG"),
        "tall": saved(big.resize((101, 900)), "PNG"),
        "tiny": saved(smooth.resize((3, 2)), "PNG"),
        "grey": saved(big.convert("L"), "JPEG"),
        "palette": saved(big.quantize(17), "PNG"),
        "cmyk": saved(big.convert("CMYK"), "JPEG"),
        "alpha": saved(Image.fromarray(alpha), "WEBP", lossless=True),
        "turned": saved(big, "JPEG", exif=turned.tobytes()),
        "deep": saved(grey16, "PNG"),
    }


def _as_torch_users_read(content):
    """float32 [3, 224, 224] by Pillow's own functions, and the transforms of torchvision written out."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    w, h = image.size
    w, h = (256, int(256 * h / w)) if w <= h else (int(256 * w / h), 256)
    image = image.resize((w, h), Image.Resampling.BILINEAR)
    left, top = round((w - 224) / 2.0), round((h - 224) / 2.0)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224))) / np.float32(255)
    scaled = (pixels - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("name", ["vgg19", "alexnet"])
def test_the_features_are_pytorchs(name, rectified, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    from gpldan_jax.benchmarking import feature_times

    weights = feature_times.random_weights(name)
    torch.save({key: torch.from_numpy(array) for key, array in weights.items()}, tmp_path / f"{name}.pth")
    encode = network_encoder(name, tmp_path / f"{name}.pth", rectified=rectified, batch=4)
    files = _files()
    found = encode([encode.prepare(read_image(content)) for content in files.values()])
    with torch.inference_mode():
        shown = torch.from_numpy(np.stack([_as_torch_users_read(content) for content in files.values()]))
        expected = feature_times.torch_network(name, weights, rectified=rectified)(shown).numpy()
    difference = np.abs(found - expected).max(1) / np.abs(expected).max(1)
    assert dict(zip(files, difference, strict=True)) == pytest.approx(dict.fromkeys(files, 0), abs=PEER)
    assert np.linalg.norm(found - expected) <= PEER * np.linalg.norm(expected)
    assert (expected.min() < 0) != rectified
