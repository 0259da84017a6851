"""What tests of the commands share."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
# A model small enough that a run is mostly its start.
SMALL = ("--config.model.hidden=32", "--config.model.width=16", "--config.train.batch_size=20")
