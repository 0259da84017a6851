"""Image networks: against loops in float64, and against PyTorch with the same weights on pictures of all kinds."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax.features import network_encoder, networks, read_image
from gpldan_jax.features.image_encoders import crop_square
from gpldan_jax.features.networks import winograd_convolution, winograd_kernel
from tests.features import networks as small

ROUNDING = 1e-5  # float32 against float64, of the largest feature
PEER = 1e-4  # what the issue of these features asks of PyTorch's, of the largest feature

pytestmark = pytest.mark.usefixtures("quick_compilation")


def pictures(side, count=2, seed=1):
    return np.random.default_rng(seed).standard_normal((count, side, side, 3)).astype(np.float32)


@pytest.mark.parametrize(("h", "w"), [(1, 1), (2, 3), (5, 4), (7, 7)])
def test_winograd_is_the_convolution(h, w):
    random = np.random.default_rng(h * w)
    x, kernel = random.standard_normal((2, h, w, 3)), random.standard_normal((3, 3, 3, 5))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, h, w, 5))
    for i in range(h):
        for j in range(w):
            expected[:, i, j] = np.einsum("nhwc,hwco->no", padded[:, i : i + 3, j : j + 3], kernel)
    found = winograd_convolution(jnp.float32(x), winograd_kernel(jnp.float32(kernel)))
    np.testing.assert_allclose(found, expected, atol=ROUNDING * np.abs(expected).max())


@pytest.mark.parametrize(("group", "grouped"), [(1, True), (2, True), (9, True), (1, False), (2, None)])
@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("name", small.NETWORKS)
def test_a_network_is_what_its_layers_say(name, rectified, group, grouped):
    network, side = small.network(name, rectified=rectified, group=group, grouped=grouped)
    weights, seen = small.state_dict(network, side), pictures(side, count=3)
    parameters = networks.import_weights(weights, network, small.LINEAR, side=side)
    expected = np.stack([small.loop(network, weights, picture) for picture in seen])
    found = jax.jit(network.apply)(parameters, seen)
    np.testing.assert_allclose(found, expected, atol=ROUNDING * np.abs(expected).max())
    assert (expected.min() < 0) != rectified  # the option shows


def test_wide_layers_are_winograds_on_a_cpu():
    def products(grouped):
        network, side = small.network("wide", grouped=grouped)
        parameters = jax.eval_shape(network.init, jax.random.key(0), pictures(side))
        return str(jax.make_jaxpr(network.apply)(parameters, pictures(side))).count("conv_general_dilated")

    assert products(False) == 3 and products(True) == 1  # the first layer has three channels


@pytest.mark.parametrize(
    ("name", "convolutions", "widths", "inputs"),
    [
        (
            "vgg19",
            [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34],
            [64, 64, 128, 128, *[256] * 4, *[512] * 8],
            7 * 7 * 512,
        ),
        ("alexnet", [0, 3, 6, 8, 10], [64, 192, 384, 256, 256], 6 * 6 * 256),
    ],
)
def test_the_architectures(name, convolutions, widths, inputs):
    architecture = networks.ARCHITECTURES[name]
    network = networks.ImageNetwork(architecture.convolutions)
    found = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
    assert [index for index, _ in networks.positions(architecture.convolutions)] == convolutions
    assert [found[f"features_{index}_kernel"].shape[3] for index in convolutions] == widths
    assert found["fc6"]["kernel"].shape == (inputs, 4096) and found["fc7"]["kernel"].shape == (4096, 4096)


def _without(name):
    return lambda weights: weights.pop(name)


def _with(name, change):
    return lambda weights: weights.update({name: change(weights.get(name))})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("features.3.weight"), r"features\.3\.weight: expected floats \[128, 64, 3, 3\], found none"),
        (_with("features.3.weight", lambda w: w[:, :3]), r"features\.3\.weight: .*, found float32 \[128, 3, 3, 3\]"),
        (_with("features.3.bias", lambda b: b.astype(int)), r"features\.3\.bias: .* found int64 \[128\]"),
        (_with("classifier.0.weight", lambda w: w.T), r"classifier\.0\.weight: expected floats \[10, 512\]"),
        (
            _with("features.5.bias", lambda b: b * np.nan),
            r"features\.5\.bias: expected finite weights, found NaN or Inf",
        ),
        (_with("features.1.running_mean", lambda _: np.zeros(64)), r"features\.1\.running_mean: the network has none"),
    ],
)
def test_a_wrong_file_is_refused_by_its_first_layer(change, message):
    network, side = small.network("wide")
    weights = small.state_dict(network, side)
    change(weights)
    with pytest.raises(ValueError, match=message) as caught:
        networks.import_weights(weights, network, small.LINEAR, side=side)
    assert "\n" not in str(caught.value)


def test_weights_of_other_precisions_and_what_follows_fc7():
    network, side = small.network("wide")
    weights = {name: array.astype(np.float16) for name, array in small.state_dict(network, side).items()}
    expected = networks.import_weights(weights, network, small.LINEAR, side=side)
    weights |= {"classifier.6.weight": np.zeros((1000, 10)), "classifier.6.bias": np.full(1000, np.nan)}
    found = networks.import_weights(weights, network, small.LINEAR, side=side)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}


@pytest.fixture
def alexnet_file(tmp_path, monkeypatch):
    """Weights of a network of AlexNet's name and few channels."""
    import safetensors.numpy

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


def test_the_encoder_says_what_it_is(alexnet_file):
    path, _, _ = alexnet_file
    import hashlib

    assert network_encoder("alexnet", path, rectified=False).description == {
        "extractor": "alexnet",
        "layer": "fc7",
        "rectified": False,
        "weights": {"file": "alexnet.safetensors", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        "preprocessing": {"shorter_side": 256, "centre": 224, "scaling": "torchvision"},
    }
    assert (network_encoder("alexnet", path, rectified=False)([np.zeros((224, 224, 3), np.uint8)]) < 0).any()


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


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("name", ["vgg19", "alexnet"])
def test_the_features_are_pytorchs(name, rectified, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    from gpldan_jax.benchmarking import feature_times as features
    from gpldan_jax.benchmarking import feature_times as torch_networks

    weights = features.random_weights(name)
    torch.save({key: torch.from_numpy(array) for key, array in weights.items()}, tmp_path / f"{name}.pth")
    encode = network_encoder(name, tmp_path / f"{name}.pth", rectified=rectified, batch=4)
    files = _files()
    found = encode([encode.prepare(read_image(content)) for content in files.values()])
    with torch.inference_mode():
        shown = torch.from_numpy(np.stack([_as_torch_users_read(content) for content in files.values()]))
        expected = torch_networks.network(name, weights, rectified=rectified)(shown).numpy()
    difference = np.abs(found - expected).max(1) / np.abs(expected).max(1)
    assert dict(zip(files, difference, strict=True)) == pytest.approx(dict.fromkeys(files, 0), abs=PEER)
    assert np.linalg.norm(found - expected) <= PEER * np.linalg.norm(expected)
    assert (expected.min() < 0) != rectified


def test_a_crop_of_what_is_too_narrow():
    assert crop_square(np.zeros((10, 1, 3), np.uint8)).shape == (224, 224, 3)
    with pytest.raises(ValueError, match="1 x 9000 pixels is too narrow"):
        crop_square(np.zeros((9000, 1, 3), np.uint8))
