"""A training run in a folder: from a config to results, alone or in several processes."""
