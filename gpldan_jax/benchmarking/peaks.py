"""Published peaks of accelerators, and the roofline time: what a program takes at least by them.

Matrix products at `"highest"` are float32. A TPU makes each of six bfloat16 products, see `BF16_BF16_F32_X6` in
https://docs.jax.dev/en/latest/jax.lax.html#jax.lax.DotAlgorithmPreset; a GPU computes them in its float32 units.
At `"default"` a TPU rounds operands to bfloat16, a GPU to TF32.
"""

import dataclasses
from collections.abc import Mapping

_TPU_PASSES = {"highest": 6, "default": 1, "bfloat16": 1}
_TPU_FORMATS = {"highest": "float32 of six bfloat16 products", "default": "bfloat16", "bfloat16": "bfloat16"}
_GPU_FORMATS = {"highest": "float32", "default": "TF32", "bfloat16": "bfloat16"}


@dataclasses.dataclass(frozen=True)
class Peak:
    """What one device can do at most. Figures for sparse matrices are not used.

    Attributes:
        flops_per_s: of matrix products, by the precision of `problem.PRECISIONS`.
        formats: the number format of each of them.
        memory_bytes_per_s: of the device's main memory.
        link_bytes_per_s: what it sends to other devices, over all its links, in one direction.
        sources: where the figures are from.
    """

    flops_per_s: Mapping[str, float]
    formats: Mapping[str, str]
    memory_bytes_per_s: float
    link_bytes_per_s: float
    sources: tuple[str, ...]


def _tpu(bfloat16, memory, links, *sources, devices_per_chip=1):
    """The peak of a device of a TPU chip; `links` is in bytes a second in one direction."""
    rates = {name: bfloat16 / passes / devices_per_chip for name, passes in _TPU_PASSES.items()}
    return Peak(rates, _TPU_FORMATS, memory / devices_per_chip, links / devices_per_chip, sources)


def _gpu(highest, default, bfloat16, memory, links, *sources):
    return Peak({"highest": highest, "default": default, "bfloat16": bfloat16}, _GPU_FORMATS, memory, links, sources)


# Google gives the interconnect of v5e and v5p for both directions together (400 and 1200 GB/s) or in Gbit/s for one
# (1600 and 4800); NVIDIA gives NVLink for both.
PEAKS = {
    # jax sees the two cores of a chip as two devices. Six links of 50 GB/s: Table 4 of the paper.
    "v4": _tpu(
        275e12,
        1200e9,
        300e9,
        "https://docs.cloud.google.com/tpu/docs/v4",
        "https://arxiv.org/abs/2304.01433",
        devices_per_chip=2,
    ),
    "v5e": _tpu(197e12, 819e9, 200e9, "https://docs.cloud.google.com/tpu/docs/v5e"),
    "v5p": _tpu(459e12, 2765e9, 600e9, "https://docs.cloud.google.com/tpu/docs/v5p"),
    "v6e": _tpu(918e12, 1600e9, 400e9, "https://docs.cloud.google.com/tpu/docs/v6e"),
    # With SXM. NVIDIA's page lists products of TF32 and bfloat16 with sparsity; without, it is half of that.
    "h100": _gpu(67e12, 494.5e12, 989.5e12, 3350e9, 450e9, "https://www.nvidia.com/en-us/data-center/h100/"),
    "a100": _gpu(19.5e12, 156e12, 312e12, 2039e9, 300e9, "https://www.nvidia.com/en-us/data-center/a100/"),
}
"""By the name that a topology begins with; of an A100 the one with 80 GB."""


@dataclasses.dataclass(frozen=True)
class Roofline:
    """The seconds that a program takes at least by the peaks of a device, each resource alone.

    Attributes:
        flops_s: for its matrix products.
        memory_s: for its reads and writes of memory; `None` where they are not known.
        link_s: for what it sends to other devices.
    """

    flops_s: float
    memory_s: float | None
    link_s: float

    @property
    def seconds(self) -> float:
        """The longest of them: the three may run at the same time."""
        return max(self.flops_s, self.memory_s or 0.0, self.link_s)

    @property
    def limit(self) -> str:
        """The resource that takes longest: `"flops"`, `"memory"` or `"links"`."""
        times = {"flops": self.flops_s, "memory": self.memory_s or 0.0, "links": self.link_s}
        return max(times, key=lambda name: times[name])


def roofline(peak: Peak, flops: Mapping[str, float], memory_bytes: float | None, link_bytes: float) -> Roofline:
    """Returns what a program takes at least.

    Args:
        peak: of the device.
        flops: floating point operations of matrix products on one device, by precision.
        memory_bytes: what they read and write; `None` where it is not known.
        link_bytes: what the device sends to others.

    Returns:
        The seconds of each resource, and of the slowest.

    Example:
        >>> found = roofline(PEAKS["v5e"], {"default": 197e9, "highest": 197e9}, 819e6, 0)
        >>> found.flops_s, found.memory_s, found.limit
        (0.007, 0.001, 'flops')
    """
    return Roofline(
        sum(amount / peak.flops_per_s[precision] for precision, amount in flops.items()),
        None if memory_bytes is None else memory_bytes / peak.memory_bytes_per_s,
        link_bytes / peak.link_bytes_per_s,
    )
