"""The names that users import exist, and importing the loss brings in nothing but jax."""

import ast
from pathlib import Path

import gpldan_jax

NAMES = [
    "GPLDAN",
    "GraphPatternTerms",
    "ModalityClassifier",
    "Projector",
    "Representation",
    "adversarial_loss",
    "co_attention_distances",
    "graph_pattern_loss",
    "load_model",
    "mean_average_precision",
    "modality_classifier_loss",
    "recall_at",
    "sharded_graph_pattern_loss",
    "target_distances",
]


def test_public_names_exist_and_are_documented():
    for name in NAMES:
        assert getattr(gpldan_jax, name).__doc__, name


def test_losses_import_nothing_but_jax():
    for path in (Path(gpldan_jax.__file__).parent / "losses").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in names:
                allowed = ("jax", "functools", "math", "typing")
                assert name.split(".")[0] in allowed or name.startswith("gpldan_jax.losses"), f"{path.name}: {name}"
