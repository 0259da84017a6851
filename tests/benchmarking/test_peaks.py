"""The table of published peaks, and roofline times by hand."""

import pytest

from gpldan_jax.benchmarking import peaks, problem


@pytest.mark.parametrize("name", peaks.PEAKS)
def test_each_peak_has_all_precisions_and_its_sources(name):
    peak = peaks.PEAKS[name]
    assert set(peak.flops_per_s) == set(peak.formats) == set(problem.PRECISIONS)
    assert peak.flops_per_s["highest"] < peak.flops_per_s["default"] <= peak.flops_per_s["bfloat16"]
    assert peak.memory_bytes_per_s > peak.link_bytes_per_s > 0
    assert peak.sources and all(source.startswith("https://") for source in peak.sources)


def test_the_roofline_by_hand():
    peak = peaks.Peak({"highest": 10.0, "default": 60.0}, {}, memory_bytes_per_s=4.0, link_bytes_per_s=2.0, sources=())
    found = peaks.roofline(peak, {"highest": 30.0, "default": 60.0}, 8.0, 1.0)
    assert (found.flops_s, found.memory_s, found.link_s) == (30 / 10 + 60 / 60, 8 / 4, 1 / 2)
    assert (found.seconds, found.limit) == (4.0, "flops")
    assert peaks.roofline(peak, {"highest": 30.0}, 40.0, 1.0).limit == "memory"
    found = peaks.roofline(peak, {"highest": 30.0}, None, 12.0)
    assert (found.seconds, found.limit) == (6.0, "links")


def test_a_tpu_makes_float32_products_of_six_passes():
    v5e = peaks.PEAKS["v5e"].flops_per_s
    assert v5e["default"] == 197e12 and v5e["highest"] == pytest.approx(197e12 / 6)
    # Two devices of jax are one chip.
    assert peaks.PEAKS["v4"].flops_per_s["bfloat16"] == 275e12 / 2
