"""The methods that GPLDAN is compared with, one file each; `registry.METHODS` has them all."""

from gpldan_jax.baselines.cca import ridge_cca as ridge_cca
from gpldan_jax.baselines.method import Method as Method
