"""What the tests of loading share: the sizes of every dataset, the message of a refusal, and the tools."""

import importlib
import sys
from unittest import mock

import pytest

from gpldan_jax.data import DataError, load_dataset
from tests.commands import ROOT

# Table 1 of the paper, and our own variants.
SIZES = {
    ("wikipedia", "cnn128_text100"): (2173, 231, 462, 128, 100, 10),
    ("wikipedia", "raw"): (2173, 231, 462, 128, 10, 10),
    ("wikipedia", "vgg19_bert"): (2173, 231, 462, 4096, 1024, 10),
    ("pascal", "vgg19_bert"): (800, 100, 100, 4096, 1024, 20),
    ("nuswide", "vgg19_bert"): (8000, 1000, 1000, 4096, 1024, 10),
    ("nuswide", "multilabel"): (10000, 2100, 2100, 4096, 1000, 21),
    ("mirflickr", "multilabel"): (10000, 2000, 2000, 4096, 1386, 24),
    ("xmedia", "alexnet_bow"): (4000, 300, 700, 4096, 3000, 20),
    ("cub", "googlenet_doc2vec"): (420, 60, 120, 1024, 300, 10),
    ("npz", "own"): (800, 100, 100, 512, 256, 10),
}


def sizes(data):
    counts = (len(data.train), len(data.validation), len(data.test))
    return (*counts, data.image_dim, data.text_dim, len(data.class_names))


def refused(*args, **kwargs):
    with pytest.raises(DataError) as caught:
        load_dataset(*args, **kwargs)
    return str(caught.value)


def load_tool(name):
    """The module `name` of tools/, which imports its neighbours as a script does."""
    with mock.patch.object(sys, "path", [str(ROOT / "tools"), *sys.path]):
        return importlib.import_module(name)
