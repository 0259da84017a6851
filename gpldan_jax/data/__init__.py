"""Datasets of image-text pairs: where their files are, reading, checking, splitting and scaling.

`load_dataset` loads a dataset by its name, `paired_dataset` makes one of arrays, `standardize` scales one. Where to add
a dataset: its files and their reader in `layouts` (features of one's own are in `own_features`), its name and sizes in
`catalogue`, its settings in `gpldan_jax.config`.
"""

from gpldan_jax.data.catalogue import data_directory as data_directory
from gpldan_jax.data.catalogue import dataset_names as dataset_names
from gpldan_jax.data.catalogue import load_dataset as load_dataset
from gpldan_jax.data.catalogue import variants as variants
from gpldan_jax.data.descriptions import Descriptions as Descriptions
from gpldan_jax.data.descriptions import describe as describe
from gpldan_jax.data.feature_arrays import FeaturesOnDisk as FeaturesOnDisk
from gpldan_jax.data.files.checks import DataError as DataError
from gpldan_jax.data.files.checks import MissingFilesError as MissingFilesError
from gpldan_jax.data.files.reading import available_keys as available_keys
from gpldan_jax.data.files.reading import read_arrays as read_arrays
from gpldan_jax.data.files.reading import read_list as read_list
from gpldan_jax.data.labels import encode_labels as encode_labels
from gpldan_jax.data.labels import is_labelled as is_labelled
from gpldan_jax.data.labels import normalize_groups as normalize_groups
from gpldan_jax.data.labels import normalize_labels as normalize_labels
from gpldan_jax.data.paired import PairedDataset as PairedDataset
from gpldan_jax.data.paired import PairedSplit as PairedSplit
from gpldan_jax.data.paired import class_titles as class_titles
from gpldan_jax.data.paired import label_titles as label_titles
from gpldan_jax.data.paired import paired_dataset as paired_dataset
from gpldan_jax.data.shipped import SHIPPED as SHIPPED
from gpldan_jax.data.shipped import shipped_arrays as shipped_arrays
from gpldan_jax.data.shipped import shipped_documents as shipped_documents
from gpldan_jax.data.shipped import shipped_pictures as shipped_pictures
from gpldan_jax.data.splits import apportion as apportion
from gpldan_jax.data.splits import grouped_split as grouped_split
from gpldan_jax.data.splits import stratified_split as stratified_split
from gpldan_jax.data.splits import synthetic_splits as synthetic_splits
from gpldan_jax.data.standardization import standardize as standardize
from gpldan_jax.data.stored import Layout as Layout
from gpldan_jax.data.stored import Shape as Shape
from gpldan_jax.data.stored import Variant as Variant
from gpldan_jax.models.trained import Standardization as Standardization
