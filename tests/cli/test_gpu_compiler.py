"""Commands let XLA take the products of cuBLAS where jax can use a GPU, and only there."""

import os
import subprocess
import sys

import pytest

SHOW = """
import os
from gpldan_jax.cli import gpu_compiler
gpu_compiler.use_cublas()
print(os.environ.get("XLA_FLAGS"))
"""


@pytest.mark.parametrize("plugin", ["xla_cuda12", "xla_cuda13", "other"])
def test_only_with_the_plugin_for_gpus(tmp_path, plugin):
    # Whether a plugin is installed is asked of its folder; nothing imports it.
    (tmp_path / "jax_plugins" / plugin).mkdir(parents=True)
    (tmp_path / "jax_plugins" / plugin / "__init__.py").write_text("")
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", SHOW], env=environment | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    expected = "None" if plugin == "other" else "--xla_gpu_enable_triton_gemm=false"
    assert done.stdout.strip() == expected
