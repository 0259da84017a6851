"""All methods of the comparison by name."""

from gpldan_jax.baselines import acmr, cca, cdpae, chance, cmcp, corr_ae, dcca, dscmr, jrl, ucal
from gpldan_jax.baselines import contrastive_methods as contrastive
from gpldan_jax.baselines.method import Method

_MODULES = (chance, cmcp, acmr, dscmr, jrl, cca, dcca, corr_ae, ucal, cdpae, contrastive)

METHODS: dict[str, Method] = {method.name: method for module in _MODULES for method in module.METHODS}
"""In the order of Table 2: supervised, semi-supervised, unsupervised."""
