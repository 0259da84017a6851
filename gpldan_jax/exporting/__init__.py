"""Trained models in forms that need neither jax nor this package: NumPy arrays with one module, or ONNX."""

from gpldan_jax.exporting.model_export import FORMATS as FORMATS
from gpldan_jax.exporting.model_export import ExportReport as ExportReport
from gpldan_jax.exporting.model_export import check_folder as check_folder
from gpldan_jax.exporting.model_export import export_model as export_model
