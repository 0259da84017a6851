"""Times fc7 of VGG-19 or AlexNet with random weights, beside PyTorch with the same weights."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gpldan_jax.benchmarking import results, timing
from gpldan_jax.benchmarking.problem import COMPILED, ENCODERS, choose, library_of, peer_obstacles
from gpldan_jax.features.networks import ARCHITECTURES, SIDE, ImageNetwork, import_weights, positions

if TYPE_CHECKING:
    from torch import nn

_AGREEMENT = 1e-4  # of fc7, relative to its largest value


def measure(schedule: timing.Schedule, *, network: str, implementations: Sequence[str] | None = None) -> dict[str, Any]:
    """Times an image network, `"vgg19"` or `"alexnet"`; the sizes of the schedule are pictures of a batch."""
    names = choose(implementations, ENCODERS, peer_obstacles(ENCODERS))
    weights = random_weights(network)

    def prepare(n):
        pictures = np.random.default_rng(1).standard_normal((n, SIDE, SIDE, 3), dtype=np.float32)
        prepared, found = [], {}
        for name in names:
            row = results.Row(n, name, "features", "highest", library_of(name))
            call = _make_call(name, network, weights, pictures)
            row, features = _first_call(row, call)
            if row.not_run:
                prepared.append((row, None))
            else:
                found[name] = features
                prepared.append((row, call))
        for name, features in found.items():
            most = np.abs(features - next(iter(found.values()))).max() / np.abs(features).max()
            if not most <= _AGREEMENT:
                raise results.Disagreement(f"{next(iter(found))} and {name} find features that differ by {most:.2g}")
        return prepared

    libraries = dict.fromkeys(map(library_of, names))
    rows, ceilings = timing.time_sizes(schedule, prepare, [(library, "highest") for library in libraries])
    problem = {"network": network, "layer": "fc7", "weights": "random"}
    return {"benchmark": "features", "problem": problem, "dataset": network, "ceilings": ceilings, "rows": rows}


def random_weights(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws the weights of a network up to fc7, at a scale that keeps the size of what passes through."""
    architecture, random, found = ARCHITECTURES[name], np.random.default_rng(seed), {}
    module, picture = ImageNetwork(architecture.convolutions), np.zeros((1, SIDE, SIDE, 3), np.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), picture)["params"]

    def draw(layer, shape):
        scale = np.float32((2 / np.prod(shape[1:])) ** 0.5)
        found[f"{layer}.weight"] = scale * random.standard_normal(shape, dtype=np.float32)
        found[f"{layer}.bias"] = np.float32(0.1) * random.standard_normal(shape[0], dtype=np.float32)

    for index, _ in positions(architecture.convolutions):
        h, w, c, o = shapes[f"features_{index}_kernel"].shape
        draw(f"features.{index}", (o, c, h, w))
    for layer, ours in zip(architecture.linear, ("fc6", "fc7"), strict=True):
        draw(layer, shapes[ours]["kernel"].shape[::-1])
    return found


def torch_network(name: str, state_dict: Mapping[str, np.ndarray], *, rectified: bool = True) -> "nn.Module":
    """Makes a network in PyTorch, layer by layer as torchvision has it: the peer of `features.networks`.

    The module is in evaluation mode and maps float32 `[n, 3, 224, 224]` to `[n, 4096]`; the layers after fc7 are left
    out. `rectified` says whether it ends with the ReLU after fc7.
    """
    import torch
    from torch import nn

    layers, side, classifier = {"vgg19": _vgg19, "alexnet": _alexnet}[name](nn)
    module = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers),
            avgpool=nn.AdaptiveAvgPool2d(side),
            flatten=nn.Flatten(),
            classifier=nn.Sequential(*(classifier if rectified else classifier[:-1])),
        )
    )
    module.load_state_dict({name: torch.from_numpy(np.asarray(state_dict[name])) for name in module.state_dict()})
    return module.eval()


def _vgg19(nn):
    layers, channels = [], 3
    for width, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    fc6, fc7 = nn.Linear(512 * 7 * 7, 4096), nn.Linear(4096, 4096)
    return layers, 7, [fc6, nn.ReLU(inplace=True), nn.Dropout(), fc7, nn.ReLU(inplace=True)]


def _alexnet(nn):
    layers = [
        *(nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(64, 192, kernel_size=5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(192, 384, kernel_size=3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(256, 256, kernel_size=3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2)),
    ]
    fc6, fc7 = nn.Linear(256 * 6 * 6, 4096), nn.Linear(4096, 4096)
    return layers, 6, [nn.Dropout(), fc6, nn.ReLU(inplace=True), nn.Dropout(), fc7, nn.ReLU(inplace=True)]


def _first_call(row, call):
    if row.library == "torch":
        from gpldan_jax.benchmarking import torch_device

        return torch_device.with_first_call(row, call, compiles=row.implementation == COMPILED)
    return row, call()


def _make_call(name, network, weights, pictures) -> Callable[[], np.ndarray]:
    if library_of(name) == "jax":
        architecture = ARCHITECTURES[network]
        settings: dict[str, Any] = {"jax": {}, "jax-one-by-one": {"group": 1}, "jax-batch": {"grouped": False}}
        flax_module = ImageNetwork(architecture.convolutions, **settings[name])
        parameters = jax.device_put(import_weights(weights, flax_module, architecture.linear))
        apply, pictures = jax.jit(flax_module.apply), jax.device_put(pictures)
        return lambda: np.asarray(apply(parameters, pictures))
    import torch

    from gpldan_jax.benchmarking import torch_device

    module: Any = torch_network(network, weights).to(torch_device.device())
    pictures = torch_device.tensor(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
    if name == "torch-channels-last":
        module, pictures = (of.to(memory_format=torch.channels_last) for of in (module, pictures))

    if name == COMPILED:
        module = torch_device.compiled(module)

    def call():
        torch_device.use_precision("highest")
        with torch.inference_mode():
            return module(pictures).cpu().numpy()

    return call
