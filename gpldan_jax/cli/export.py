"""Writes the encoders of a trained model for programs that have neither jax nor this package.

    gpldan export runs/emoji --to=numpy --out=emoji-encoders
    gpldan export runs/emoji/model.safetensors --to=onnx --out=emoji-onnx

Both turn features into representations, attention and one vector for each item, and compute the distances of encoded
items. `numpy` writes arrays and a module that needs NumPy alone, `onnx` one graph for each modality and one for the
distances (needs onnx and onnxruntime). The export is compared with the model before it is kept. The README.md in the
folder says how to use it and, where the data of the run are at hand, how many of the nearest items the vectors find.
"""

from collections.abc import Sequence
from pathlib import Path

from gpldan_jax.cli.arguments import Parser, in_flags, needs_package

STOPPED = "stopped; nothing was written"
_FORMS = ("numpy", "onnx")


def main(argv: Sequence[str], program: str) -> int:
    """Parses the flags and writes the export."""
    parser = Parser(prog=program, description=__doc__)
    add = parser.add_argument
    add("model", nargs="?", type=Path, metavar="MODEL", help="a model.safetensors, or a folder with one: a workdir")
    add("--to", metavar="FORM", help="the form of the export: numpy or onnx")
    add("--out", type=Path, metavar="DIR", help="folder to write: new, empty, or of an earlier export to this form")
    add("--data", type=Path, metavar="PATH", help="where the data of the run lie now, if they have moved")
    options = parser.parse_args(argv)
    if options.model is None:
        raise ValueError(f"which model? try {program} runs/emoji --to=numpy --out=emoji-encoders")
    if options.to not in _FORMS:
        given = "is missing" if options.to is None else f"={options.to}"
        raise ValueError(f"--to{' ' if options.to is None else ''}{given}: expected {' or '.join(_FORMS)}")
    if options.out is None:
        raise ValueError("--out is missing: the folder to write")
    if not options.model.exists():
        raise ValueError(f"there is no {options.model}: expected a model.safetensors or a folder with one")
    if options.to == "onnx":
        for package in ("onnx", "onnxruntime"):
            needs_package(package, "--to=onnx", "onnx")
    from gpldan_jax import exporting  # jax takes seconds to import; a mistyped flag should not wait

    try:
        report = exporting.export_model(options.model, options.to, options.out, data_path=options.data)
    except ValueError as error:
        message = in_flags(str(error)).replace("choose another folder", "choose another --out")
        raise ValueError(message.replace("data_path has no meaning", "--data has no meaning")) from error
    print("compared with the model, the largest absolute differences are")
    for part, outputs in report.differences.items():
        listed = ", ".join(f"{name} {difference:.1e}" for name, difference in outputs.items())
        print(f"  {listed}" if part in outputs else f"  {part}: {listed}")
    for modality, share in report.recall.items():
        print(f"recall@10 of a search by vectors, queries are {modality}s: {share:.3f}")
    if report.recall:
        print(f"measured on {report.pairs}")
    else:
        print(f"the recall of the vectors was not measured: {in_flags(report.no_recall)}")
    print(f"written to {options.out}: {', '.join(report.files)}; next: read {options.out / 'README.md'}")
    return 0
