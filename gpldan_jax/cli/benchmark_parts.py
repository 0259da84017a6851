"""The parts of `gpldan benchmark all`: which commands, in which order, how long each, and what fits the time."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from gpldan_jax.benchmarking import problem

_START = 25  # seconds to start a process, to make its arrays and to compile
_ENOUGH = 0.4  # of the ceiling: the speed that sizes are planned with
_EVALUATIONS = 3  # of a loss at least: the first one, one to plan the rounds, and a round
# In the time of a call on a CPU an accelerator makes dozens.
_TIMED, _TIMED_ON_CPU = "--seconds=3", "--seconds=8"
_TINY_SECONDS = 600  # nothing is measured, so only the budget ends a part, on a machine that is busy too
_SHAPE: dict[str, Any] = {
    "k": 4,
    "h": 256,
    "image_inputs": 4096,
    "text_inputs": 1024,
}  # what `gpldan benchmark loss` takes by default


@dataclasses.dataclass(frozen=True)
class Part:
    """One command of `gpldan benchmark`."""

    name: str
    seconds: float  # at most
    flags: tuple[str, ...]
    implementations: tuple[str, ...] = ()  # those of PyTorch only where it computes here; empty for all that can run
    pairs: int | None = None  # of a loss, whose precisions are chosen by the time that they take
    on_cpu: Mapping[str, str] = dataclasses.field(default_factory=dict)  # flags that a CPU has in place of others
    contestants: int = 1  # of a loss: calls that are timed at each precision


@dataclasses.dataclass(frozen=True)
class Speeds:
    """What the part `products` found."""

    platform: str  # of jax
    flops_per_s: Mapping[str, float]  # of jax, by precision
    has_torch: bool  # on the device of jax


def parts(*, tiny: bool = False) -> list[Part]:
    """Returns the parts in the order in which they run, the more important ones first.

    Those that are `tiny` show that everything runs here, and measure nothing.
    """
    timed = ("--rounds=1", "--ceiling_size=16") if tiny else (_TIMED,)
    shape = ("--width=16", "--representations=2") if tiny else ()
    inputs = ("--image_inputs=6", "--text_inputs=5") if tiny else ()
    sizes = (4, 5, 6, 7, 8, 9) if tiny else (256, 1024, 4096, 16384, 65536, 262144)
    peers, compiled = ("default", "torch-matmul"), ("default", "torch-matmul", problem.COMPILED)

    def loss(n, seconds, implementations=peers, *more, name="loss", contestants=3):
        flags = ("loss", f"--sizes={n}", *more, *shape, *inputs, *timed)
        return Part(f"{name}-{n}", seconds, flags, implementations, None if tiny else n, contestants=contestants)

    def tiles(n, seconds):
        blocks = ("2", "3") if tiny else ("512", "1024", "2048")
        return loss(n, seconds, ("blocked",), "--block_size", *blocks, name="tiles", contestants=len(blocks))

    def train(seconds, implementations, name="train"):
        small = [f"--config.model.{key}" for key in ("hidden=16", "width=8", "parts=2")] if tiny else []
        members = "--members=2" if tiny else "--members=25"
        flags = ("train", "--dataset=emoji", "--sizes=64", members, *small, *timed)
        return Part(name, seconds, flags, implementations)

    def features(seconds, implementations, name="features"):
        which = ("--network=alexnet", "--sizes=1") if tiny else ("--network=vgg19", "--sizes=32")
        return Part(name, seconds, ("features", *which, *timed), implementations, on_cpu={"--sizes=32": "--sizes=8"})

    asked = ("--sizes=40", "--queries=3", "-k=4") if tiny else ("--sizes=1000000",)
    products = ("products", "--precisions", *problem.PRECISIONS, *timed[1:])
    found = [
        Part("products", 60, products),
        loss(sizes[0], 75, (), "--errors", contestants=5),
        loss(sizes[2], 75),
        loss(sizes[4], 90, contestants=1),  # PyTorch's matrices do not fit
        train(120, ("step", "epoch", "grid", "torch-matmul")),
        tiles(sizes[2], 75),
        loss(sizes[3], 75),
        loss(sizes[1], 60),
        Part("search", 150, ("search", *asked, *shape, *timed), ("jax", "torch-matmul")),
        features(75, ("jax", "torch")),
        loss(sizes[5], 180, contestants=1),
        loss(sizes[0], 75, compiled, name="compiled-loss"),
        loss(sizes[2], 75, compiled, name="compiled-loss"),
        train(90, ("epoch", "torch-matmul", problem.COMPILED), name="compiled-train"),
        features(75, ("jax", "torch", problem.COMPILED), name="compiled-features"),
    ]
    return [dataclasses.replace(part, seconds=_TINY_SECONDS) for part in found] if tiny else found


def plan(part: Part, speeds: Speeds | None, limit: float) -> tuple[list[str] | None, str | None]:
    """Chooses what of a part fits its time.

    Args:
        part: of `parts`.
        speeds: of this device; `None` where they are not known, and everything is tried.
        limit: seconds.

    Returns:
        The flags, `None` where nothing is left; and what is left out and why, `None` for nothing.

    Example:
        >>> slow = Speeds("cpu", {"highest": 1e11, "bfloat16": 1e11}, has_torch=False)
        >>> plan(Part("loss-4096", 60, ("loss", "--sizes=4096"), ("default",), 4096), slow, 60)[0] is None
        True
    """
    if speeds is None or part.flags[0] == "products":
        return _with_names(part, part.implementations), None
    names = tuple(name for name in part.implementations if speeds.has_torch or problem.library_of(name) == "jax")
    if problem.COMPILED in set(part.implementations) - set(names):
        return None, "PyTorch does not compute on the device of jax"
    flags = _with_names(part, names)
    if speeds.platform == "cpu":
        flags = [{_TIMED: _TIMED_ON_CPU, **part.on_cpu}.get(flag, flag) for flag in flags]
    if part.pairs is None:
        return flags, None
    work = problem.minimum_flops(problem.Problem(part.pairs, **_SHAPE), "forward_and_grad")
    seconds: dict[str, Any] = {
        name: _EVALUATIONS * part.contestants * work / (_ENOUGH * rate)
        for name, rate in speeds.flops_per_s.items()
        if name != "default" or speeds.platform != "cpu"  # where it is "highest"
    }
    kept, total = [], float(_START)
    for name in sorted(seconds, key=lambda name: seconds[name]):  # the fastest first: a large size has that at least
        if total + seconds[name] <= limit:
            total += seconds[name]
            kept.append(name)
    late = [f"{name} would take {seconds[name]:,.0f} s" for name in seconds if name not in kept]
    left_out = f"{', '.join(late)}; {max(limit - total, 0):.0f} s are left for it" if late else None
    in_order = [name for name in problem.PRECISIONS if name in kept]
    return ([*flags, "--precisions", *in_order] if kept else None), left_out


def _with_names(part, names):
    return [*part.flags, *(("--implementations", *names) if names else ())]
