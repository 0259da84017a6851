"""What a sweep tries: points, runs, and the config of each."""

import ast
import runpy

import pytest

from gpldan_jax import config as settings
from gpldan_jax.studies import grid_points
from gpldan_jax.studies.grid_points import Grid, Member, point_title

ALPHA_BETA = Grid((("loss.alpha", (3.0, 1.0)), ("loss.beta", (0.0, 0.1))), (0, 1))


def test_the_product_has_the_last_axis_fastest_and_the_seeds_of_a_point_together():
    values = [(3.0, 0.0), (3.0, 0.1), (1.0, 0.0), (1.0, 0.1)]
    expected = [(("loss.alpha", alpha), ("loss.beta", beta)) for alpha, beta in values]
    assert ALPHA_BETA.points() == expected
    assert ALPHA_BETA.members() == [Member(point, seed) for point in expected for seed in (0, 1)]


def test_an_axis_of_a_single_value_has_no_choice():
    grid = Grid((("loss.alpha", (0.3,)), ("optim.learning_rate", (1e-4, 1e-3))), (0,))
    assert grid.varied() == ["optim.learning_rate"]
    assert Grid((), (0,)).points() == [()] and Grid((), (0,)).varied() == []


def test_the_last_epoch_chooses_nothing():
    grid_points.check_criterion("last", 1)
    grid_points.check_criterion("map", 2)
    with pytest.raises(ValueError, match=r"^train\.selection=last cannot choose among points; use map, recall"):
        grid_points.check_criterion("last", 2)


def test_a_point_has_a_title():
    assert point_title(ALPHA_BETA.points()[1]) == "alpha 3, beta 0.1" and point_title(()) == "the config as it is"


def test_every_axis_is_a_key_of_the_config_and_can_be_applied():
    config = settings.default_config()
    for name, key in grid_points.AXES.items():
        changed = grid_points.member_config(config, Member(((key, 0.125),), 7))
        group, _, last = key.partition(".")
        assert grid_points.AXIS_NAMES[key] == name and changed[group].pop(last) == 0.125
        assert config[group].pop(last) != 0.125  # the config given is left alone
        assert changed["train"].pop("seed") == 7 and config["train"].pop("seed") == 0
        assert changed == config
        config = settings.default_config()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-5, 0.30000000000000004, 1e22])
def test_a_number_is_written_exactly(value):
    assert float(grid_points.value_text(value)) == value


def source(config, point, grid, **texts):
    texts = {"title": "Mine", "command": "sweep.py", "run": "run.py --config=best.py", "figure": "0.5"} | texts
    return grid_points.best_config_source(config, point, grid, **texts)


def test_the_best_config_is_a_config_file_of_the_intended_settings(tmp_path):
    odd = 'C:\\odd "name"\'s.npz'
    changes = {"dataset.name": "npz", "dataset.path": odd, "dataset.synthetic": True}
    changes |= {"train.epochs": 7, "denoise.image": 0.25}
    config = settings.with_values(settings.default_config(), changes)
    grid = Grid((("loss.alpha", (0.1, 1.0)), ("loss.beta", (1 / 3,)), ("loss.adversarial", (0.01,))), (0,))
    point = grid.points()[1]
    text = source(config, point, grid)
    path = tmp_path / "best.py"
    path.write_text(text, encoding="utf-8")
    made = runpy.run_path(str(path))["get_config"]()
    settings.validate(made.to_dict())
    assert made.to_dict() == settings.with_values(config, dict(point))
    lines = [line.strip() for line in text.splitlines() if line.startswith("    config.")]
    assert lines == [
        'config.dataset.name = "npz"',
        "config.dataset.path = " + repr(odd),
        "config.dataset.synthetic = True",
        "config.denoise.image = 0.25",
        "config.loss.alpha = 1.0  # ours: chosen on validation by a sweep",  # the default's, but chosen
        f"config.loss.beta = {1 / 3}",  # given, not chosen
        "config.train.epochs = 7",
    ]


def test_the_best_config_says_where_it_comes_from():
    grid = Grid((("loss.alpha", (0.3, 1.0)),), (0, 1))
    point = grid.points()[1]
    figure = "average validation map@50 0.500 ± 0.010 over 2 seeds"
    odd = 'sweep.py --config=\'a\\n"""b.py\' --workdir=\udc80'
    text = source(settings.default_config(), point, grid, title="Mine " * 40, figure=figure, command=odd)
    text.encode()
    docstring = ast.get_docstring(ast.parse(text))
    assert "Mine: " not in docstring.splitlines()[0] and max(map(len, docstring.splitlines())) <= 120
    assert "Mine : alpha 1, chosen on validation by a sweep." in docstring.replace("\n", " ")
    assert "\n    run.py --config=best.py\n" in docstring and "2106.13552" in docstring
    assert "Expected: average validation map@50 0.500 ± 0.010 over 2 seeds, as found by\n" in docstring
    assert f"\n    {odd}" in docstring
    nothing = source(settings.default_config(), (), Grid((), (0, 1)))
    assert "chosen" not in nothing
