"""The README's code runs as it stands."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_a_python_block_runs(code):
    exec(compile(code, "README.md", "exec"), {})


def test_every_path_and_config_it_names_exists():
    root = Path(__file__).parents[1]
    names = set(re.findall(r"(?:configs|experiments|gpldan_jax)/[\w/]*\w+\.py|gpldan_jax/\w+/", README))
    assert len(names) > 8
    for name in names:
        assert (root / name).exists(), name
