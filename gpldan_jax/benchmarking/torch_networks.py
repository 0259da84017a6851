"""VGG-19 and AlexNet in PyTorch, layer by layer as torchvision has them: peers of `gpldan_jax.features.networks`."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn


def network(name: str, state_dict: Mapping[str, np.ndarray], *, rectified: bool = True) -> nn.Module:
    """A network up to fc7, in evaluation mode, with the weights of a state dict.

    Args:
        name: "vgg19" or "alexnet".
        state_dict: arrays by torchvision's names; what comes after fc7 is left out.
        rectified: whether the ReLU after fc7 belongs to it.

    Returns:
        Takes float32 `[n, 3, 224, 224]`, returns `[n, 4096]`.
    """
    made = {"vgg19": _vgg19, "alexnet": _alexnet}[name]()
    weights = {name: torch.from_numpy(np.asarray(state_dict[name])) for name in made.state_dict()}
    made.load_state_dict(weights)
    if not rectified:
        made.classifier.pop(-1)
    return made.eval()


class _Network(nn.Module):
    def __init__(self, features, side, classifier):
        super().__init__()
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(*classifier)

    def forward(self, pictures):
        return self.classifier(torch.flatten(self.avgpool(self.features(pictures)), 1))


def _vgg19():
    layers, channels = [], 3
    for width in (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"):
        if width == "M":
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        else:
            layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    fc6, fc7 = nn.Linear(512 * 7 * 7, 4096), nn.Linear(4096, 4096)
    return _Network(layers, 7, [fc6, nn.ReLU(inplace=True), nn.Dropout(), fc7, nn.ReLU(inplace=True)])


def _alexnet():
    layers = [
        *(nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(64, 192, kernel_size=5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(192, 384, kernel_size=3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(256, 256, kernel_size=3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2)),
    ]
    fc6, fc7 = nn.Linear(256 * 6 * 6, 4096), nn.Linear(4096, 4096)
    return _Network(layers, 6, [nn.Dropout(), fc6, nn.ReLU(inplace=True), nn.Dropout(), fc7, nn.ReLU(inplace=True)])
