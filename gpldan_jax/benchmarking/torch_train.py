"""The training step (Eq. 1-11) in PyTorch: the peer of `training.train_step`. Importing this module imports torch.

Float32 with torch's own layers and optimisers; the losses are those of `torch_losses`. It runs eagerly, except
`"torch-compiled"`, in which the networks and the losses are compiled.

Letters: `n` pairs of a mini-batch; `H` width of the common space; `k` representations of one instance, each `h` wide.

`python -m gpldan_jax.benchmarking.torch_train LOSS N PAIRS SETTINGS` prints the bytes that two steps take.
"""

import json
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import torch
from flax.traverse_util import flatten_dict, unflatten_dict
from torch import nn
from torch.nn.functional import cross_entropy

from gpldan_jax.benchmarking import torch_device, torch_losses
from gpldan_jax.benchmarking.problem import COMPILED, Problem, measure_memory, memory_obstacle, process_memory
from gpldan_jax.benchmarking.results import Row
from gpldan_jax.data import PairedSplit
from gpldan_jax.losses.adversarial import IMAGE, TEXT
from gpldan_jax.training import TrainState


def _read_settings(state):
    """Returns the sizes and hyperparameters of a state, named as in `Projector`, `Hyperparameters` and `TrainState`."""
    if state.discrepancy != "absolute":
        raise ValueError(f"the PyTorch peers have the discrepancy 'absolute' only, got {state.discrepancy!r}")
    if state.neighbours is not None or state.hyperparameters.contrastive is not None:
        raise ValueError("the PyTorch peers have the paper's losses only: no neighbours, no contrastive term")
    hyperparameters = jax.device_get(state.hyperparameters)
    return SimpleNamespace(
        image_dim=state.projector_parameters["image_hidden"]["kernel"].shape[0],
        text_dim=state.projector_parameters["text_hidden"]["kernel"].shape[0],
        **{name: getattr(state.projector, name) for name in ("hidden", "width", "parts")},
        classifier_hidden=state.classifier.hidden,
        image_denoising=state.image_denoising,
        text_denoising=state.text_denoising,
        **{name: float(value) for name, value in vars(hyperparameters).items() if value is not None},
    )


class _Attention(nn.Module):
    """Eq. 1: `[..., k, h]` to `[..., k]`."""

    def __init__(self, parts: int, part_width: int):
        super().__init__()
        if parts > 1:  # else there is nothing to learn
            self.w1 = nn.Linear(part_width, max(part_width // 2, 1), bias=False)
            self.w2 = nn.Linear(max(part_width // 2, 1), 1, bias=False)

    def forward(self, parts):
        if parts.shape[-2] == 1:
            return torch.ones(parts.shape[:-1], device=parts.device)
        return self.w2(torch.tanh(self.w1(parts))).squeeze(-1).softmax(-1)


class _Projector(nn.Module):
    """The network G: images above texts, `[2n, H]` before fusion, as parts `[2n, k, h]`, and attention `[2n, k]`."""

    def __init__(self, settings):
        super().__init__()
        self.parts = settings.parts
        self.image_hidden = nn.Linear(settings.image_dim, settings.hidden)
        self.text_hidden = nn.Linear(settings.text_dim, settings.hidden)
        self.shared = nn.Linear(settings.hidden, settings.width)
        self.attention = _Attention(settings.parts, settings.width // settings.parts)

    def forward(self, images, texts):
        # One product for both modalities: a step on Wikipedia's 128 and 100 columns with n = 64 took a fifth less time
        # than with one for each.
        features = self.shared(torch.cat([self.image_hidden(images), self.text_hidden(texts)]).relu())
        parts = features.unflatten(1, (self.parts, -1))
        return features, parts, self.attention(parts)


class Peer:
    """Both networks with their optimisers, and the training pairs in memory, all float32 `[pairs, width]`.

    The parameters are those that PyTorch's layers start with, until `load` replaces them.
    """

    def __init__(self, loss: str, settings: SimpleNamespace, images: np.ndarray, texts: np.ndarray):
        self._loss, self._settings = torch_losses.LOSSES["torch-matmul" if loss == COMPILED else loss], settings
        self._images, self._texts = torch_device.tensor(images), torch_device.tensor(texts)
        self._random = torch.Generator().manual_seed(0)
        self._projector = _Projector(settings).to(torch_device.device())
        self._classifier = nn.Sequential(
            OrderedDict(
                hidden_layer=nn.Linear(settings.width, settings.classifier_hidden),
                relu=nn.ReLU(),
                output=nn.Linear(settings.classifier_hidden, 2),
            )
        ).to(torch_device.device())
        self._projector_parameters = list(self._projector.parameters())
        # In a trial fused was faster than foreach (by a fifth of a step) and both than the plain loop; for D's few
        # numbers, of which PyTorch has no fused RMSprop, they made no difference.
        self._projector_optimizer = torch.optim.Adam(
            self._projector_parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self._classifier_optimizer = torch.optim.RMSprop(
            self._classifier.parameters(), lr=settings.classifier_learning_rate, alpha=0.99, eps=1e-8
        )
        self._functions: tuple[Callable, ...] = (self._projector, self._classifier_step_loss, self._projector_step_loss)
        if loss == COMPILED:  # the backward passes are compiled with them; fused Adam is one kernel anyway
            self._functions = tuple(map(torch_device.compiled, self._functions))

    def load(self, state: TrainState) -> None:
        """Takes the parameters of both networks from a state of the same sizes."""
        self._projector.load_state_dict(_to_torch(state.projector_parameters))
        self._classifier.load_state_dict(_to_torch(state.classifier_parameters))

    def parameters(self) -> tuple[dict, dict]:
        """Returns copies of the projector's and the classifier's parameters, in the form of a `TrainState`."""
        return _from_torch(self._projector), _from_torch(self._classifier)

    def step(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Trains one step of D (Eq. 10), then one of G (Eq. 11) against the new D, on the pairs at `rows`, `[n]`."""
        settings, (encode, compute_classifier_loss, compute_loss) = self._settings, self._functions
        torch_device.use_precision("default")
        rows = rows.to(self._images.device)
        images, texts = self._images[rows], self._texts[rows]
        # D's step does not change G: one forward pass of G serves both.
        features, parts, attention = encode(
            _zero_columns(images, settings.image_denoising, self._random),
            _zero_columns(texts, settings.text_denoising, self._random),
        )
        classifier_loss = compute_classifier_loss(features.detach())
        self._classifier_optimizer.zero_grad()
        classifier_loss.backward()
        self._classifier_optimizer.step()

        loss = compute_loss(features, parts, attention, images, texts)
        self._projector_optimizer.zero_grad()
        loss.backward(inputs=self._projector_parameters)  # none for D
        self._projector_optimizer.step()
        return {"loss": loss.detach(), "classifier": classifier_loss.detach()}

    def _classifier_step_loss(self, features):
        return 2 * cross_entropy(self._classifier(features), _modality(features))  # a mean for each modality

    def _projector_step_loss(self, features, parts, attention, images, texts):
        weights = {"alpha": self._settings.alpha, "beta": self._settings.beta}
        loss = self._loss(*parts.chunk(2), *attention.chunk(2), images, texts, **weights)
        against = cross_entropy(self._classifier(features), _modality(features).flip(0))
        return loss + self._settings.adversarial * 2 * against


def make_peer(loss: str, state: TrainState, split: PairedSplit) -> Peer:
    """Makes a peer of one of `problem.TORCH_IMPLEMENTATIONS` with the settings and the parameters of a `TrainState`."""
    made = Peer(loss, _read_settings(state), split.images, split.texts)
    made.load(state)
    return made


def with_memory(row: Row, state: TrainState, split: PairedSplit) -> Row:
    """Returns a row with the memory that its step takes, marked as not run where that does not fit."""
    settings = _read_settings(state)
    h = settings.width // settings.parts
    problem = Problem(row.n, settings.parts, h, settings.image_dim, settings.text_dim)
    weights = sum(parameter.numel() for parameter in _Projector(settings).parameters())
    # Beside the loss: parameters, gradients, Adam's two moments; the pairs, and those of the mini-batch denoised.
    predicted = 4 * (4 * weights + (len(split) + row.n) * (settings.image_dim + settings.text_dim))
    predicted += torch_losses.predict_memory(row.implementation, "forward_and_grad", problem)
    if torch_device.on_gpu():
        return replace(row, not_run=torch_device.gpu_obstacle(predicted))
    if row.implementation == COMPILED:  # the compiler takes more memory than a small step
        return replace(row, not_run=memory_obstacle(predicted))
    arguments = (row.implementation, row.n, len(split), json.dumps(vars(settings)))
    memory, not_run = measure_memory(predicted, __name__, *arguments)
    return replace(row, memory_bytes=memory, not_run=not_run)


def _modality(features):
    return torch.tensor([IMAGE, TEXT], device=features.device).repeat_interleave(len(features) // 2)


def _zero_columns(inputs, fraction, generator):
    """The denoising of Sec. 2.1: the same columns, `int(fraction * d)` of them, for all rows."""
    count = int(fraction * inputs.shape[1])
    if not count:
        return inputs
    kept = torch.ones(inputs.shape[1])
    kept[torch.randperm(len(kept), generator=generator)[:count]] = 0
    return inputs * kept.to(inputs.device)


def _to_torch(parameters):
    flat = flatten_dict(jax.device_get(parameters), sep=".")
    return {name.replace("kernel", "weight"): torch.from_numpy(array.T.copy()) for name, array in flat.items()}


def _from_torch(module):
    flat = {
        name.replace("weight", "kernel"): tensor.cpu().numpy().T.copy() for name, tensor in module.state_dict().items()
    }
    return unflatten_dict(flat, sep=".")


def _print_memory(loss, n, pairs, settings):
    settings = SimpleNamespace(**json.loads(settings))
    tiny = {"image_dim": 2, "text_dim": 2, "hidden": 2, "width": 2 * settings.parts, "classifier_hidden": 2}
    # The first step loads parts of torch.
    _train_on_noise(loss, SimpleNamespace(**vars(settings) | tiny), n=2, pairs=2)
    before = process_memory("VmRSS")
    _train_on_noise(loss, settings, int(n), int(pairs))
    print(process_memory("VmHWM") - before)


def _train_on_noise(loss, settings, n, pairs):
    random = np.random.default_rng(0)
    inputs = [random.random((pairs, width), np.float32) for width in (settings.image_dim, settings.text_dim)]
    trained = Peer(loss, settings, *inputs)
    for _ in range(2):  # the second with the optimisers' moments in place
        trained.step(torch.arange(n) % pairs)


if __name__ == "__main__":
    _print_memory(*sys.argv[1:])
