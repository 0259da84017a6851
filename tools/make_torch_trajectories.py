"""Record what PyTorch's Adam and RMSprop do, for `tests/training/test_optimizers.py`, which runs without PyTorch.

The gradients are fixed numbers, not those of a function: both sides see the same ones, whatever their parameters are.
Everything is float64, and JSON keeps every digit, so the same PyTorch writes the same file.

`p` is the number of parameters.
"""

import json
from pathlib import Path

import numpy as np
import torch

STEPS = 30
# The rates and decays of Sec. 3.2 first, then larger ones, at which a difference of two optimisers shows.
RUNS = (
    (torch.optim.Adam, {"lr": 1e-4, "weight_decay": 1e-4}),
    (torch.optim.Adam, {"lr": 1e-4, "weight_decay": 1e-1}),
    (torch.optim.Adam, {"lr": 1e-2, "weight_decay": 1e-4}),
    (torch.optim.Adam, {"lr": 1e-1, "weight_decay": 1e-1}),
    (torch.optim.RMSprop, {"lr": 5e-5}),
    (torch.optim.RMSprop, {"lr": 1e-3}),
    (torch.optim.RMSprop, {"lr": 1e-1}),
)
INITIAL = (1.0, -0.5, 2.0, 1.5, -1.0, 0.75, -2.0, 0.25)

OUT = Path(__file__).resolve().parent.parent / "tests/training/torch_trajectories.json"


def gradients() -> np.ndarray:
    """`[steps, p]`: ordinary ones, none, tiny, huge, all of these in turn, and one that begins late."""
    rng = np.random.default_rng(0)
    ordinary = rng.normal(size=(STEPS, 5))
    in_turn = np.choose(np.arange(STEPS) % 4, [0.0, 1e-12, ordinary[:, 3], 1e6])
    late = np.where(np.arange(STEPS) < 10, 0, ordinary[:, 4])
    constant = np.broadcast_to([0.0, 1e-12, 1e6], (STEPS, 3))
    return np.column_stack([ordinary[:, :3], constant, in_turn, late])


def trajectory(optimizer_class, settings: dict, gradients: np.ndarray) -> list[list[float]]:
    """The parameters after every step, `[steps, p]`."""
    parameters = torch.tensor(INITIAL, dtype=torch.float64, requires_grad=True)
    optimizer = optimizer_class([parameters], **settings)
    positions = []
    for gradient in gradients:
        parameters.grad = torch.tensor(gradient)
        optimizer.step()
        positions.append(parameters.tolist())
    return positions


def main() -> None:
    steps = gradients()
    runs = [
        {"optimizer": optimizer.__name__, "settings": settings, "parameters": trajectory(optimizer, settings, steps)}
        for optimizer, settings in RUNS
    ]
    record = {"torch": torch.__version__, "initial": INITIAL, "gradients": steps.tolist(), "runs": runs}
    # One step a line: a row is what a reader looks for and what a diff shows.
    OUT.write_text(json.dumps(record).replace("[[", "[\n[").replace("], [", "],\n[").replace("]]", "]\n]") + "\n")
    print(f"{OUT}: {len(runs)} runs of {STEPS} steps")


if __name__ == "__main__":
    main()
