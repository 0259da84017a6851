"""The methods that GPLDAN is compared with, one file each; `METHODS` has all of them by name."""

from gpldan_jax.baselines.cca import ridge_cca as ridge_cca
from gpldan_jax.baselines.method import Method as Method
from gpldan_jax.baselines.registry import METHODS as METHODS
