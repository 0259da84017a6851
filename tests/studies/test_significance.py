"""The paired bootstrap against a plain loop and against SciPy."""

import numpy as np
import pytest
import scipy.stats

from gpldan_jax.studies.significance import Difference, paired_bootstrap

RNG = np.random.default_rng(0)


def fits(shift, seeds=3, q=200):
    base = np.random.default_rng(7).random(q)
    return [
        {"image_to_text": base + shift + 0.1 * RNG.normal(size=q), "text_to_image": base + shift} for _ in range(seeds)
    ]


def test_the_interval_is_that_of_scipys_bootstrap():
    one, other = fits(0.05), fits(0.0, seeds=2)
    found = paired_bootstrap(one, other)
    each = [
        np.mean([np.add(*of.values()) / 2 for of in fits_of], axis=0) for fits_of in (one, other)
    ]  # of a pair, over seeds
    difference = each[0] - each[1]
    expected = scipy.stats.bootstrap(
        (difference,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.mean == pytest.approx(difference.mean())
    assert found.low == pytest.approx(expected.low, abs=1e-3) and found.high == pytest.approx(expected.high, abs=1e-3)
    assert found.low > 0.02  # it sees a difference that the queries alone, unpaired, would hide
    assert abs(np.mean(each[0])) < 5 * np.std(each[0])


def test_directions_with_different_numbers_of_queries_count_the_same():
    one = [{"image_to_text": [1.0] * 4, "text_to_image": [0.5] * 20}]
    other = [{"image_to_text": [0.0] * 4, "text_to_image": [0.5] * 20}]
    assert paired_bootstrap(one, other) == Difference(0.5, 0.5, 0.5)


def test_the_same_fits_do_not_differ_and_other_queries_are_refused():
    one = fits(0.0, seeds=1)
    assert str(paired_bootstrap(one, one)) == "+0.000 [+0.000, +0.000]"
    assert str(Difference(-0.0123, -0.02, 0.001)) == "\N{MINUS SIGN}0.012 [\N{MINUS SIGN}0.020, +0.001]"
    with pytest.raises(ValueError, match=r"the two have \(200,\) and \(100,\) queries image_to_text"):
        paired_bootstrap(one, fits(0.0, q=100))
