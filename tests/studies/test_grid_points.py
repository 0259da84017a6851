"""What a sweep tries: its grid, and what of a command line is refused."""

import doctest

import pytest

from gpldan_jax import config as settings
from gpldan_jax.studies import grid_points as points
from gpldan_jax.studies.grid_points import Grid, Member


def parse(seeds="1", *, first=0, **flags):
    config = config_dict.ConfigDict(settings.default_config())
    config.train.seed = first
    return points.parse(config.to_dict(), flags, seeds)


def test_examples():
    assert doctest.testmod(points).attempted > 5 and not doctest.testmod(points).failed


def test_the_product_has_the_last_axis_fastest_and_the_seeds_of_a_point_together():
    grid = parse("2", beta="0,0.1", alpha="3,1")  # flags in any order, values as given
    assert grid == Grid((("loss.alpha", (3.0, 1.0)), ("loss.beta", (0.0, 0.1))), (0, 1))
    alpha_beta = [(3.0, 0.0), (3.0, 0.1), (1.0, 0.0), (1.0, 0.1)]
    expected = [(("loss.alpha", alpha), ("loss.beta", beta)) for alpha, beta in alpha_beta]
    assert grid.points() == expected
    assert grid.members() == [Member(point, seed) for point in expected for seed in (0, 1)]


def test_an_axis_not_given_is_none_and_one_of_a_single_value_has_no_choice():
    grid = parse(alpha="0.3", beta=None, learning_rate="1e-4,1e-3")
    assert grid.axes == (("loss.alpha", (0.3,)), ("optim.learning_rate", (1e-4, 1e-3)))
    assert grid.varied() == ["optim.learning_rate"]
    assert parse().points() == [()] and parse().varied() == []


@pytest.mark.parametrize(
    ("seeds", "first", "expected"),
    [("3", 0, (0, 1, 2)), ("3", 7, (7, 8, 9)), ("1", 7, (7,)), ("0,3,7", 5, (0, 3, 7)), ("7, 0", 0, (7, 0))],
)
def test_seeds_are_counted_from_the_config_or_listed(seeds, first, expected):
    assert parse(seeds, first=first).seeds == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"alpha": ""}, "--alpha=: expected numbers separated by commas, got ''"),
        ({"alpha": "1,,2"}, "--alpha=1,,2: expected numbers separated by commas, got ''"),
        ({"beta": "0,a"}, "--beta=0,a: expected numbers separated by commas, got 'a'"),
        ({"alpha": "1,2,1.0"}, "--alpha=1,2,1.0: 1 is there twice"),
        ({"alpha": "-1"}, "--alpha=-1: config.loss.alpha must be a number at least 0, got -1.0"),
        ({"adversarial": "nan"}, "--adversarial=nan: config.loss.adversarial must be a number at least 0, got nan"),
        ({"beta": "1e999"}, "--beta=1e999: config.loss.beta must be a number at least 0, got inf"),
        ({"learning_rate": "0"}, "--learning_rate=0: config.optim.learning_rate must be a number above 0, got 0.0"),
        ({"seeds": "1.5"}, "--seeds=1.5: expected whole numbers separated by commas, got '1.5'"),
        ({"seeds": "1,1"}, "--seeds=1,1: 1 is there twice"),
        ({"seeds": "0,-1"}, "--seeds=0,-1: config.train.seed must be a whole number from 0 to 4294967295, got -1"),
        (
            {"seeds": "0"},
            "--seeds=0: a single number says how many, from 1 to 1000; one seed alone is "
            "--config.train.seed=0 --seeds=1",
        ),
    ],
)
def test_a_flag_that_cannot_be_used_is_named_in_one_line(flags, message):
    with pytest.raises(ValueError) as error:
        parse(**flags)
    assert str(error.value) == message


def test_a_seed_taken_for_a_count_is_refused():
    with pytest.raises(ValueError, match=r"one seed alone is --config\.train\.seed=20240101 --seeds=1"):
        parse("20240101")


def test_every_axis_is_a_key_of_the_config_and_can_be_applied():
    config = settings.default_config()
    for name, key in points.AXES.items():
        changed = points.applied(config, ((key, 0.125),))
        group, _, last = key.partition(".")
        assert points.name(key) == name and changed[group].pop(last) == 0.125
        assert config[group].pop(last) != 0.125  # the config given is left alone
        assert changed == config
        config = settings.default_config()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-5, 0.30000000000000004, 1e22])
def test_a_number_is_written_exactly(value):
    assert float(points.number(value)) == value
