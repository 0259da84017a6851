"""Datasets of image-text pairs: reading, checking, splitting and standardising. NumPy only."""

from gpldan_jax.data.catalogue import data_directory as data_directory
from gpldan_jax.data.catalogue import dataset_names as dataset_names
from gpldan_jax.data.catalogue import load_dataset as load_dataset
from gpldan_jax.data.catalogue import variants as variants
from gpldan_jax.data.files.checks import DataError as DataError
from gpldan_jax.data.files.reading import available_keys as available_keys
from gpldan_jax.data.files.reading import read_arrays as read_arrays
from gpldan_jax.data.files.reading import read_list as read_list
from gpldan_jax.data.labels import encode_labels as encode_labels
from gpldan_jax.data.labels import normalize_labels as normalize_labels
from gpldan_jax.data.layouts import Layout as Layout
from gpldan_jax.data.layouts import Shape as Shape
from gpldan_jax.data.layouts import Variant as Variant
from gpldan_jax.data.paired import PairedDataset as PairedDataset
from gpldan_jax.data.paired import PairedSplit as PairedSplit
from gpldan_jax.data.paired import Standardization as Standardization
from gpldan_jax.data.paired import paired_dataset as paired_dataset
from gpldan_jax.data.paired import standardize as standardize
from gpldan_jax.data.splits import apportion as apportion
from gpldan_jax.data.splits import stratified_split as stratified_split
from gpldan_jax.data.synthetic import synthetic_splits as synthetic_splits
