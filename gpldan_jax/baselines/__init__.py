"""The methods that GPLDAN is compared with."""

from gpldan_jax.baselines.cca import ridge_cca as ridge_cca
