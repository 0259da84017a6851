"""The config file behind `--dataset`: the package's own config of a dataset, which needs no checkout."""

from ml_collections import config_dict

from gpldan_jax import config


def get_config(argument: str = "emoji"):
    """The config of a dataset, of `"NAME"`, `"NAME,VARIANT"` or `"NAME,VARIANT,RECIPE"`."""
    name, variant, recipe = [*argument.split(","), "", ""][:3]
    return config_dict.ConfigDict(config.dataset_config(name, variant, recipe or "paper"))
