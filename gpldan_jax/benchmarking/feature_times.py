"""Measures fc7 of VGG-19 or AlexNet, beside PyTorch with the same weights."""

import argparse
from collections.abc import Callable

import jax
import numpy as np

from gpldan_jax.benchmarking import machine, results, timing
from gpldan_jax.benchmarking.problem import ENCODERS, runnable
from gpldan_jax.features.networks import ARCHITECTURES, SIDE, ImageNetwork, import_weights, positions

_AGREEMENT = 1e-4  # of fc7, against its largest


def measure(options: argparse.Namespace) -> dict:
    """The problem, the ceilings, and a row for each implementation and batch.

    Args:
        options: the flags of `benchmark.py features`.

    Raises:
        ValueError: what was asked for cannot run here.
        results.Disagreement: the implementations find different features.
    """
    problem_of_torch = machine.torch_problem()
    problems = dict.fromkeys((name for name in ENCODERS if name.startswith("torch")), problem_of_torch)
    names = runnable(options.implementations, ENCODERS, {name: why for name, why in problems.items() if why})
    weights = random_weights(options.network)

    def prepare(n):
        pictures = np.random.default_rng(1).standard_normal((n, SIDE, SIDE, 3), dtype=np.float32)
        prepared, found = [], {}
        for name in names:
            call = _call(name, options.network, weights, pictures)
            found[name] = call()
            prepared.append((results.Row(n, name, "features", "highest", name.partition("-")[0]), call))
        for name, features in found.items():
            most = np.abs(features - found[names[0]]).max() / np.abs(features).max()
            if not most <= _AGREEMENT:
                raise results.Disagreement(f"{names[0]} and {name} find features that differ by {most:.2g}")
        return prepared

    libraries = dict.fromkeys(name.partition("-")[0] for name in names)
    rows, ceilings = timing.over_sizes(options, prepare, [(library, "highest") for library in libraries])
    problem = {"network": options.network, "layer": "fc7", "weights": "random"}
    return {"benchmark": "features", "problem": problem, "dataset": options.network, "ceilings": ceilings, "rows": rows}


def random_weights(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict of a network up to fc7, as torchvision names it, of weights that keep the size of what they get.

    Args:
        name: "vgg19" or "alexnet".
        seed: of the draw.
    """
    architecture, random, found = ARCHITECTURES[name], np.random.default_rng(seed), {}
    shapes = jax.eval_shape(
        ImageNetwork(architecture.convolutions).init, jax.random.key(0), np.zeros((1, SIDE, SIDE, 3), np.float32)
    )["params"]

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


def _call(name, network, weights, pictures) -> Callable[[], np.ndarray]:
    if name.startswith("torch"):
        return _torch_call(name, network, weights, pictures)
    architecture = ARCHITECTURES[network]
    settings = {"jax": {}, "jax-one-by-one": {"group": 1}, "jax-batch": {"grouped": False}}[name]
    module = ImageNetwork(architecture.convolutions, **settings)
    parameters = jax.device_put(import_weights(weights, module, architecture.linear))
    apply, pictures = jax.jit(module.apply), jax.device_put(pictures)
    return lambda: np.asarray(apply(parameters, pictures))


def _torch_call(name, network, weights, pictures):
    import torch

    from gpldan_jax.benchmarking import torch_networks

    module = torch_networks.network(network, weights)
    pictures = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
    if name == "torch-channels-last":
        module, pictures = (of.to(memory_format=torch.channels_last) for of in (module, pictures))

    def call():
        with torch.inference_mode():
            return module(pictures).numpy()

    return call
