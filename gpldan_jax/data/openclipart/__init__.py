"""The embedded clip art: drawings of objects and their words; read it with `gpldan_jax.data.shipped`."""
