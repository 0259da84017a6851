"""Measures how fast the loss, the training, the search and the image networks are on a machine, beside other libraries.

`gpldan benchmark` calls `loss_times`, `training_times`, `search_times` and `feature_times`, each of which imports jax;
`problem`, `machine` and `results` do not. PyTorch and matplotlib are imported where they are used.
"""
