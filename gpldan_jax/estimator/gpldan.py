"""GPLDAN with scikit-learn's conventions, for two views: `fit`, `distances`, `rank`, `score`, `plot`, `save`, `load`.

Letters: `n` images and `m` texts, pair i being row i of both where they are pairs; `d_i`, `d_t` widths of the inputs;
`q` queries.
"""

import dataclasses
import importlib.metadata
import os
from typing import TYPE_CHECKING

import numpy as np

from gpldan_jax import models, retrieval, training
from gpldan_jax.config import default
from gpldan_jax.data.frames import check_column_names, check_pairs, column_names, feature_rows
from gpldan_jax.estimator.held_out import fit_dataset, scored_pairs
from gpldan_jax.estimator.parameters import (
    check_parameters,
    config_of,
    draw_seed,
    parameters_of_model,
    parameters_of_recipe,
    saved_parameters,
)
from gpldan_jax.estimator.plots import compose_plot, precision_curves
from gpldan_jax.estimator.trainer import Callbacks, train_model
from gpldan_jax.retrieval import metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

try:
    from sklearn.base import BaseEstimator
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise ImportError("gpldan_jax.GPLDAN needs scikit-learn: pip install 'gpldan_jax[sklearn]'") from error

DIRECTIONS = ("image_to_text", "text_to_image")


class GPLDAN(BaseEstimator):
    """GPLDAN of paired images and texts given as features, trained without labels.

    A fit is the run that `gpldan run` makes of the same pairs and settings, on one device. Most arguments
    are settings of `gpldan_jax.config`, which says where each default comes from.

    Args:
        alpha: weight of the unpaired term, at least 0.
        beta: weight of the mutual term, at least 0.
        adversarial: lambda of Eq. 11, at least 0.
        discrepancy: rho of Eq. 6: "absolute", "squared" or "signed".
        neighbours: ours: how many training pairs make the neighbourhoods that target distances come from; `None` for
            the paper's distances of the inputs.
        contrastive: ours: weight of an InfoNCE term, 0 for none.
        temperature: ours: of that term, above 0.
        soft_contrastive: ours: weight of a contrastive term with targets from the neighbourhoods, 0 for none.
        soft_temperature, soft_within: ours: of that term; the weight of its parts within each modality.
        image_denoising, text_denoising: share of the columns set to zero in training, in [0, 1].
        learning_rate, weight_decay: of the projector's Adam.
        classifier_learning_rate: of the modality classifier's RMSprop.
        hidden: width of each modality's own layer.
        width: H, width of the common space; `parts` divides it.
        parts: k, representations of one instance.
        classifier_hidden: width of the modality classifier's hidden layer.
        epochs, steps: how many epochs to train; 0 for as many as `steps` mini-batches need.
        batch_size: pairs of a mini-batch; all training pairs where there are fewer, with a `UserWarning`.
        remainder: the pairs that do not fill a batch: "drop" or "mask".
        selection: which epoch's model is kept, by held-out pairs: "map" (map@50, needs labels), "recall" (recall@1, 5
            and 10), "agreement" (with the neighbourhoods of both modalities), "auto" (map where there are labels, else
            agreement); or "last", for which no pairs are held out.
        validation_fraction: share of the pairs to hold out, above 0 and below 1, each class in proportion where there
            are labels; not used with `fit(..., validation=...)` or "last".
        evaluate_every: epochs from one evaluation to the next.
        patience: evaluations without a better one after which training ends, 0 for never.
        image_scaling, text_scaling: "standardize" (by the training pairs) or "raw".
        bank: ours: pairs that retrieval goes through, at most, or means of pairs; 0 for none, see `models.move`.
        bank_neighbours, bank_weight: ours: how many of them are nearest to an item, and how far they move it.
        resident: whether the training pairs lie on the device and an epoch is one program; False where they do not fit
            there. `None` is False on a CPU, where a fit is as fast and other numbers of pairs, such as the folds of a
            grid search, are not another compilation. Both give the same parameters there, bit by bit; the losses in
            `history_` may differ in their last digits.
        random_state: an int from 0 to 2**32 - 1 is the seed of the run; an instance of `RandomState`, or with `None`
            NumPy's global one, draws the seed. The same seed and data give the same bits on the same machine.
        verbose: what `fit` prints: 0 nothing, 1 a progress bar on a terminal or in a notebook (with ipywidgets) and ten
            lines elsewhere, 2 a line after each epoch.

    Attributes:
        model_: a `TrainedModel`, of the epoch that was selected.
        n_image_features_in_, n_text_features_in_: d_i and d_t.
        image_feature_names_in_, text_feature_names_in_: the names of the columns of a DataFrame, `[d_i]` and `[d_t]`
            str; only where they are text. Other names, or another order, in `score`, `distances` and `rank` are an
            error. `feature_names_in_` is the name that scikit-learn looks for, of its `X`, here the images.
        n_epochs_: epochs after which the model was selected.
        history_: for each epoch a dict of plain numbers: `epoch`, `step`, means of `loss` and its terms, and where
            it was evaluated, `validation`, as from `gpldan_jax.retrieval.evaluate`, and `selected`, whether it was the
            best so far. Empty for a model of `gpldan run`.
        seed_: the seed of the run.

    Where scikit-learn asks for `X` and `y`, give images and texts: `GridSearchCV(GPLDAN(selection="last"), {"alpha":
    [0.5, 1, 2]}).fit(images, texts)` compares by `score` on folds, `labels=labels` goes to `fit` alone unless metadata
    routing is on. `gpldan sweep` trains a grid as one program and chooses by validation pairs.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> latent = rng.normal(size=(80, 4))
        >>> images, texts = latent @ rng.normal(size=(4, 10)), latent @ rng.normal(size=(4, 6))
        >>> model = GPLDAN(hidden=16, width=8, parts=2, epochs=5, batch_size=16, learning_rate=0.01, random_state=0)
        >>> model = model.fit(images[:60], texts[:60])
        >>> model.rank(images[60:], texts[60:], direction="image_to_text", k=3).shape
        (20, 3)
        >>> model.score(images[60:], texts[60:]) > 0.5  # recall@10 of 20 pairs
        True
    """

    def __init__(
        self,
        *,
        alpha=default("loss.alpha"),
        beta=default("loss.beta"),
        adversarial=default("loss.adversarial"),
        discrepancy=default("loss.discrepancy"),
        neighbours=None,
        contrastive=default("loss.contrastive"),
        temperature=default("loss.temperature"),
        soft_contrastive=default("loss.soft_contrastive"),
        soft_temperature=default("loss.soft_temperature"),
        soft_within=default("loss.soft_within"),
        image_denoising=default("denoise.image"),
        text_denoising=default("denoise.text"),
        learning_rate=default("optim.learning_rate"),
        weight_decay=default("optim.weight_decay"),
        classifier_learning_rate=default("optim.classifier_learning_rate"),
        hidden=default("model.hidden"),
        width=default("model.width"),
        parts=default("model.parts"),
        classifier_hidden=default("model.classifier_hidden"),
        epochs=default("train.epochs"),
        steps=default("train.steps"),
        batch_size=default("train.batch_size"),
        remainder=default("train.remainder"),
        selection="auto",
        validation_fraction=0.1,
        evaluate_every=default("train.evaluate_every"),
        patience=default("train.patience"),
        image_scaling=default("dataset.image_scaling"),
        text_scaling=default("dataset.text_scaling"),
        bank=default("retrieval.bank"),
        bank_neighbours=default("retrieval.bank_neighbours"),
        bank_weight=default("retrieval.bank_weight"),
        resident=None,
        random_state=None,
        verbose=0,
    ):
        self.alpha = alpha
        self.beta = beta
        self.adversarial = adversarial
        self.discrepancy = discrepancy
        self.neighbours = neighbours
        self.contrastive = contrastive
        self.temperature = temperature
        self.soft_contrastive = soft_contrastive
        self.soft_temperature = soft_temperature
        self.soft_within = soft_within
        self.image_denoising = image_denoising
        self.text_denoising = text_denoising
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.classifier_learning_rate = classifier_learning_rate
        self.hidden = hidden
        self.width = width
        self.parts = parts
        self.classifier_hidden = classifier_hidden
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.remainder = remainder
        self.selection = selection
        self.validation_fraction = validation_fraction
        self.evaluate_every = evaluate_every
        self.patience = patience
        self.image_scaling = image_scaling
        self.text_scaling = text_scaling
        self.bank = bank
        self.bank_neighbours = bank_neighbours
        self.bank_weight = bank_weight
        self.resident = resident
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_recipe(cls, recipe: str, **parameters) -> "GPLDAN":
        """Returns an estimator with the settings of a recipe.

        Args:
            recipe: "paper" or "ours", see `gpldan_jax.config.RECIPES`.
            parameters: other parameters; they come before those of the recipe.

        Returns:
            The estimator, not fitted.

        Raises:
            ValueError: no such recipe.

        Example:
            >>> GPLDAN.from_recipe("ours", epochs=5).bank > 0
            True
        """
        return cls(**parameters_of_recipe(recipe) | parameters)

    def fit(self, images, texts, labels=None, *, groups=None, validation=None, callbacks: Callbacks = ()) -> "GPLDAN":
        """Trains on n pairs.

        Args:
            images: `[n, d_i]` array_like of finite real numbers, not scaled.
            texts: `[n, d_t]`; row i is the partner of row i of `images`.
            labels: classes of the pairs, in any form that `gpldan_jax.data.normalize_labels` takes, or `None`. `[n]`,
                or `[n, C]` of 0 and 1 where pairs have several; -1, NaN and "" stand for no class. They choose the
                epoch and spread the held-out pairs; the loss never sees them.
            groups: `[n]`, whole numbers or strings, the same for pairs that belong together, such as the five captions
                of an image; the held-out pairs are whole groups then. `None` where each pair stands alone.
            validation: `(images, texts)`, or `(images, texts, labels)` where `labels` are given, to choose the epoch
                by; all n pairs are trained on then. Not with `groups`.
            callbacks: functions that take the record of each epoch when it ends, such as `wandb.log`: a dict as in
                `history_`, with the seconds of the epoch. What one raises ends the fit.

        Returns:
            self.

        Raises:
            ValueError: an argument out of its range, rows or features that do not fit, NaN or Inf, labels in one of
                the two only, none to hold out.
            TypeError: sparse matrices.
            gpldan_jax.training.NotFinite: a loss became NaN or infinite. What was fitted before is left as it was.
        """
        check_parameters(self.get_params())
        seed = draw_seed(self.random_state)
        pairs, names = check_pairs(images, texts, labels, groups), column_names(images, texts)
        options = {name: getattr(self, name) for name in ("selection", "validation_fraction", "batch_size")}
        dataset = fit_dataset(pairs, validation, **options, seed=seed)
        if validation is not None:
            check_column_names(validation[0], validation[1], names, "validation ")
        parameters = self.get_params() | {"batch_size": min(self.batch_size, len(dataset.train))}
        if self.selection == "auto":
            parameters["selection"] = "agreement" if labels is None else "map"
        config = training.with_epochs(config_of(parameters, seed), len(dataset.train))
        told = {"verbose": self.verbose, "callbacks": callbacks}
        trained, history = train_model(config, dataset, resident=self.resident, **told)
        fitted: dict = {"parameters": saved_parameters(self.get_params(), seed), "seed": seed, "history": history}
        fitted |= {"feature_names": names} if names else {}
        metadata = {**trained.metadata, "estimator": fitted, "version": importlib.metadata.version("gpldan_jax")}
        return self._with_model(dataclasses.replace(trained, metadata=metadata), seed, history)

    def distances(self, images, texts) -> np.ndarray:
        """Distances of n images to m texts, a smaller one is a better match.

        Args:
            images: `[n, d_i]` array_like, not scaled.
            texts: `[m, d_t]`.

        Returns:
            `[n, m]` float32, in [0, 2].

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            ValueError: no rows, another number of features than in `fit`, NaN or Inf.
            TypeError: sparse matrices.
        """
        images, texts = self._rows(images, "image"), self._rows(texts, "text")
        return self.model_.distances(images, texts)

    def _rows(self, features, view):
        """The features of one side, checked against those of `fit`."""
        check_is_fitted(self, "model_")
        sides = (features, None) if view == "image" else (None, features)
        check_column_names(*sides, {view: self._names.get(view)}, stacklevel=4)
        dtype = self.model_.standardization.dtypes[view]
        return feature_rows(features, f"{view}s", getattr(self, f"n_{view}_features_in_"), dtype)

    def transform_images(self, images) -> np.ndarray:
        """Turns images into one vector each, for any vector store; see `gpldan_jax.models.pooled_vectors`.

        The dot product of the vectors of an image and a text approximates 1 minus their distance; with `parts=1` it is
        that. `score_vectors` says what share of the nearest items a search by vectors finds.

        Args:
            images: `[n, d_i]` array_like, not scaled.

        Returns:
            `[n, width / parts]` float32, of length 1.

        Raises:
            As `distances`.
        """
        rows = self._rows(images, "image")
        return models.pooled_vectors(self.model_.encode_images(rows))

    def transform_texts(self, texts) -> np.ndarray:
        """Turns texts `[m, d_t]` into one vector each, `[m, width / parts]`, as `transform_images` does with images."""
        rows = self._rows(texts, "text")
        return models.pooled_vectors(self.model_.encode_texts(rows))

    def score_vectors(self, images, texts, *, k: int = 10) -> float:
        """What share of the k nearest items a search by the vectors of `transform_images` and `transform_texts` finds.

        Args:
            images: `[n, d_i]`, not scaled; some hundred are enough.
            texts: `[m, d_t]`; they need not be partners.
            k: how many are the nearest, at least 1.

        Returns:
            The share, the mean of both directions, in [0, 1].

        Raises:
            As `distances`; ValueError also for k below 1.
        """
        images, texts = self._rows(images, "image"), self._rows(texts, "text")
        sides = self.model_.encode_images(images), self.model_.encode_texts(texts)
        return float(np.mean([models.vector_recall(*pair, k=k) for pair in (sides, sides[::-1])]))

    def rank(self, queries, gallery, *, direction: str, k: int | None = None) -> np.ndarray:
        """The nearest items of the gallery for each query.

        Args:
            queries: images `[q, d_i]` for "image_to_text", texts `[q, d_t]` for "text_to_image".
            gallery: the other modality, `[m, d]`.
            direction: "image_to_text" or "text_to_image".
            k: how many, at least 1; `None`, or more than m, for all.

        Returns:
            `[q, min(k, m)]` integers, rows of `gallery`, nearest first; equally near ones in the order of the gallery.

        Raises:
            As `distances`; ValueError also for another direction and k below 1.
        """
        if direction not in DIRECTIONS:
            raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
        if k is not None:
            k = metrics.whole_depth(k)
        is_image = direction == "image_to_text"
        distances = self.distances(queries, gallery) if is_image else self.distances(gallery, queries).T
        distances = np.ascontiguousarray(distances)
        k = min(k or distances.shape[1], distances.shape[1])
        return np.concatenate(
            [metrics.nearest_columns(distances[rows], k) for rows in metrics.row_chunks(*distances.shape)]
        )

    def score(self, images, texts, labels=None, *, groups=None) -> float:
        """How well n pairs find each other, the average of both directions; higher is better.

        Args:
            images: `[n, d_i]`, not scaled.
            texts: `[n, d_t]`, their partners.
            labels: as in `fit`, or `None`.
            groups: as in `fit`; each image and each text of a group counts once then, and any partner counts.

        Returns:
            map@50 (hits convention, see `mean_average_precision`) with labels, without them recall@10; in [0, 1].

        Raises:
            As `distances`; ValueError also for unequal rows.
        """
        check_is_fitted(self, "model_")
        figures = retrieval.evaluate_pairs(*self._evaluated(images, texts, labels, groups))
        return figures["recall@10" if labels is None else "map@50"]["average"]

    def _evaluated(self, images, texts, labels, groups):
        """The distances of the different images and texts of some pairs, and the pairs."""
        check_column_names(images, texts, self._names)
        dtypes = self.model_.standardization.dtypes
        split = scored_pairs(images, texts, labels, groups, dtypes=dtypes)
        images = feature_rows(split.images[split.image_rows()], "images", self.n_image_features_in_, dtypes["image"])
        texts = feature_rows(split.texts[split.text_rows()], "texts", self.n_text_features_in_, dtypes["text"])
        return self.model_.distances(images, texts), split

    def plot(self, images=None, texts=None, labels=None, *, groups=None) -> "Figure":
        """Draws how the model was trained and, for labelled pairs, precision against recall.

        Args:
            images: `[n, d_i]`, not scaled, as in `score`; `None` for the training alone.
            texts: `[n, d_t]`, their partners.
            labels: as in `fit`; needed with `images` and `texts`.
            groups: as in `score`.

        Returns:
            A figure of matplotlib: loss and the figure that selects by epoch; and the interpolated precision at each
            recall, in both directions and their average. `figure.savefig("plot.png")` writes it.

        Raises:
            ImportError: matplotlib is missing.
            ValueError: pairs without labels; no pairs, where a run made the model, which has no history.
            As `distances`.
        """
        check_is_fitted(self, "model_")
        curves = None
        if images is not None or texts is not None:
            if images is None or texts is None or labels is None:
                raise ValueError("precision against recall needs images, texts and labels, got only some of them")
            distances, split = self._evaluated(images, texts, labels, groups)
            curves = precision_curves(distances, split)
        return compose_plot(self.history_, self.n_epochs_, self.selection, curves)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the fitted model with the parameters it was fitted with, as one safetensors file.

        A `random_state` that is an object is written as the seed it gave. `gpldan_jax.load_model` reads the file too.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
        """
        check_is_fitted(self, "model_")
        models.save_model(path, self.model_)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "GPLDAN":
        """The fitted estimator that `save` wrote, or one with the model and the settings of `gpldan run`.

        Raises:
            ValueError: no model, or one that was saved without settings that this version has.
        """
        model = models.load_model(path)
        parameters, seed, history = parameters_of_model(model.metadata, path)
        if unknown := set(parameters) - set(cls._get_param_names()):
            raise ValueError(f"{path} was saved by another version of gpldan_jax: it has a parameter {min(unknown)}")
        return cls(**parameters)._with_model(model, seed, history)

    def _with_model(self, model, seed, history):
        self.model_ = model
        self.n_image_features_in_ = len(model.standardization.image_mean)
        self.n_text_features_in_ = len(model.standardization.text_mean)
        for view in ("image", "text"):
            vars(self).pop(f"{view}_feature_names_in_", None)  # of a fit before
            if view in self._names:
                setattr(self, f"{view}_feature_names_in_", np.array(self._names[view], dtype=object))
        self.n_epochs_, self.history_, self.seed_ = model.metadata["epoch"], history, seed
        return self

    @property
    def feature_names_in_(self) -> np.ndarray:
        """The names of the image columns: images are what scikit-learn calls `X`."""
        return self.image_feature_names_in_

    @property
    def _names(self):
        return self.model_.metadata.get("estimator", {}).get("feature_names", {})
