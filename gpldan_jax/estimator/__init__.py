"""The estimator: `GPLDAN` of arrays, with scikit-learn's conventions for two views."""

from gpldan_jax.estimator.gpldan import GPLDAN as GPLDAN
