"""A trained model as ONNX graphs: one for each modality, and one for the distances of encoded items.

The graphs are made node by node with the package `onnx`, so that no converter of jax is needed. They compute what
`gpldan_jax.models.encode`, `pooled_vectors` and `co_attention_distances` compute, in float32.
"""

import itertools
from typing import Any

import numpy as np

from gpldan_jax._extras import needed_for
from gpldan_jax.models import TrainedModel

OPSET = 17
"""The version of the operators: onnxruntime 1.12 and newer, and most other runtimes, run it."""

_IR_VERSION = 8  # of the file, the one that belongs to this version of the operators
_ROUNDING = 16 * float(np.finfo(np.float32).eps)  # as in `gpldan_jax.losses.distances`
_SMALLEST = 1e-30


def import_onnx() -> Any:
    """Returns the package `onnx`.

    Returns:
        The module, with its parts `checker` and `helper`.

    Raises:
        ImportError: it is missing.

    Example:
        >>> import_onnx().helper.make_opsetid("", OPSET).version  # doctest: +SKIP
        17
    """
    with needed_for("an export to ONNX", "onnx"):
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    return onnx


class _Graph:
    """Nodes and constants that are added one after the other; each has a name of its own."""

    def __init__(self):
        self.onnx = import_onnx()
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names = (f"t{number}" for number in itertools.count())

    def constant(self, array, name: str | None = None) -> str:
        """Adds a constant; float16 takes half of the space and is cast where it is used."""
        array = np.asarray(array)
        name = name or next(self._names)
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return self.add("Cast", name, to=self.onnx.TensorProto.FLOAT) if array.dtype == np.float16 else name

    def number(self, value: float) -> str:
        """Adds a float32 scalar."""
        return self.constant(np.float32(value))

    def axes(self, *values: int) -> str:
        """Adds a list of whole numbers, such as axes or a shape."""
        return self.constant(np.array(values, np.int64))

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes) -> str:
        """Adds a node and returns the name of its output."""
        name = name or next(self._names)
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def model(
        self, name: str, inputs: dict[str, tuple], outputs: dict[str, tuple], about: str, *, is_double: bool = False
    ):
        """Returns the checked model, with float32 inputs and outputs of these shapes; a string is an axis of any size.

        With `is_double`, inputs are float64.

        The checker also infers all shapes, so that a node that does not fit is found here.
        """
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        values = [
            [helper.make_tensor_value_info(key, kind, shape) for key, shape in shapes.items()]
            for shapes, kind in ((inputs, kinds.DOUBLE if is_double else kinds.FLOAT), (outputs, kinds.FLOAT))
        ]
        graph = helper.make_graph(self.nodes, name, *values, initializer=self.constants, doc_string=about)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="gpldan_jax"
        )
        self.onnx.checker.check_model(model, full_check=True)
        return model


def encoder_graph(model: TrainedModel, modality: str) -> Any:
    """Makes the graph that encodes items of one modality: the scaling, the network, and the bank where there is one.

    Args:
        model: the model.
        modality: `"image"` or `"text"`.

    Returns:
        The ONNX model. Its input is `features` `[batch, d]`, not scaled, float32, or float64 where the model scales in
        float64; its outputs are `representations` `[batch, k, h]`, `attention` `[batch, k]` and `vectors` `[batch, h]`,
        float32.

    Raises:
        ImportError: the package `onnx` is missing.

    Example:
        >>> graph = encoder_graph(model, "image")  # doctest: +SKIP
    """
    graph, k, width = _Graph(), model.projector.parts, model.projector.width
    mean, std = (getattr(model.standardization, f"{modality}_{of}") for of in ("mean", "std"))
    shift, scale = graph.constant(mean, "mean"), graph.constant(std, "std")
    scaled = graph.add("Div", graph.add("Sub", "features", shift), scale)
    is_double = mean.dtype == np.float64  # features whose offset or scale float32 has too few digits for
    if is_double:
        scaled = graph.add("Cast", scaled, to=graph.onnx.TensorProto.FLOAT)
    hidden = graph.add("Relu", _linear(graph, model.parameters, f"{modality}_hidden", scaled))
    values = _linear(graph, model.parameters, "shared", hidden)
    if model.bank is not None:
        values = _moved(graph, model.bank, modality, scaled, values)
    parts = graph.add("Reshape", values, graph.axes(-1, k, width // k), name="representations")
    attention = _attention(graph, model.parameters, parts, k)
    fused = graph.add("ReduceMean", _lifted(graph, parts, attention), axes=[1], keepdims=0)
    graph.add("Identity", _unit(graph, fused), name="vectors")
    outputs = {
        "representations": ("batch", k, width // k),
        "attention": ("batch", k),
        "vectors": ("batch", width // k),
    }
    about = f"GPLDAN: the encoder of {modality}s"
    return graph.model(modality, {"features": ("batch", len(mean))}, outputs, about, is_double=is_double)


def distance_graph(model: TrainedModel) -> Any:
    """Makes the graph of the distances of encoded images and texts, Eq. 2-5.

    Args:
        model: the model; only the sizes of its representations count.

    Returns:
        The ONNX model. Its inputs are `image_representations` `[images, k, h]`, `image_attention` `[images, k]`,
        `text_representations` `[texts, k, h]` and `text_attention` `[texts, k]`; its output is `distances`
        `[images, texts]`.

    Raises:
        ImportError: the package `onnx` is missing.

    Example:
        >>> graph = distance_graph(model)  # doctest: +SKIP

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Eq. 2-5.
    """
    graph, k = _Graph(), model.projector.parts
    h = model.projector.width // k
    attention = {name: f"{name}_attention" for name in ("image", "text")}
    lifted = {
        name: _lifted(graph, _scaled(graph, f"{name}_representations", [1, 2]), of) for name, of in attention.items()
    }
    flat = {name: graph.add("Reshape", of, graph.axes(-1, h)) for name, of in lifted.items()}
    products = graph.add("MatMul", flat["image"], graph.add("Transpose", flat["text"], perm=[1, 0]))
    products = graph.add("Reshape", products, _shape(graph, attention["image"], attention["text"]))
    # The fused image is weighed by the attention of the text, and the reverse.
    inner = graph.add("Einsum", products, attention["image"], attention["text"], equation="iajb,ib,ja->ij")
    by_image = _inverse_norms(graph, lifted["image"], attention["text"])
    by_text = graph.add("Transpose", _inverse_norms(graph, lifted["text"], attention["image"]), perm=[1, 0])
    cosines = graph.add("Mul", graph.add("Mul", inner, by_image), by_text)
    distances = graph.add("Sub", graph.number(1), cosines)
    graph.add("Clip", distances, graph.number(0), graph.number(2), name="distances")
    inputs: dict[str, tuple] = {}
    for name in ("image", "text"):
        inputs |= {f"{name}_representations": (f"{name}s", k, h), f"{name}_attention": (f"{name}s", k)}
    return graph.model("distances", inputs, {"distances": ("images", "texts")}, "GPLDAN: distances of encoded items")


def _linear(graph, parameters, name, x):
    kernel, bias = (graph.constant(np.float32(parameters[name][of]), f"{name}_{of}") for of in ("kernel", "bias"))
    return graph.add("Add", graph.add("MatMul", x, kernel), bias)


def _attention(graph, parameters, parts, k):
    if k == 1:
        shape = graph.add("Shape", parts, start=0, end=2)
        one = graph.onnx.helper.make_tensor("one", graph.onnx.TensorProto.FLOAT, [1], [1.0])
        return graph.add("ConstantOfShape", shape, name="attention", value=one)
    w1, w2 = (graph.constant(np.float32(parameters["attention"][of]["kernel"]), of) for of in ("w1", "w2"))
    scores = graph.add("MatMul", graph.add("Tanh", graph.add("MatMul", parts, w1)), w2)
    return graph.add("Softmax", graph.add("Squeeze", scores, graph.axes(2)), axis=1, name="attention")


def _moved(graph, bank, modality, scaled, values):
    """As `gpldan_jax.models.move`."""
    side = getattr(bank, modality)
    joint, coefficients = graph.constant(bank.joint, "joint"), graph.constant(side.coefficients, "coefficients")
    inputs = graph.add("Transpose", graph.constant(side.inputs, "inputs"), perm=[1, 0])
    centered = graph.add("Sub", scaled, graph.constant(np.float32(side.center), "center"))
    cosines = graph.add("MatMul", _unit(graph, centered), inputs)
    nearest, rows = f"{modality}_cosines", f"{modality}_rows"
    top = graph.onnx.helper.make_node("TopK", [cosines, graph.axes(bank.neighbours)], [nearest, rows], axis=1)
    graph.nodes.append(top)
    weights = graph.add("Relu", nearest)
    total = graph.add("ReduceSum", weights, graph.axes(1), keepdims=1)
    weights = graph.add("Div", weights, graph.add("Max", total, graph.number(np.finfo(np.float32).tiny)))
    near = graph.add("Mul", graph.add("Unsqueeze", weights, graph.axes(2)), graph.add("Gather", joint, rows, axis=0))
    mean = graph.add("ReduceSum", near, graph.axes(1), keepdims=0)
    kernel = graph.add("Div", graph.add("Sub", cosines, graph.number(1)), graph.number(side.bandwidth))
    predicted = _unit(graph, graph.add("MatMul", graph.add("Exp", kernel), coefficients))
    step = graph.add("Mul", graph.number(bank.weight), graph.add("Add", mean, predicted))
    moved = _unit(graph, graph.add("Add", _unit(graph, values), step))
    return graph.add("Mul", graph.add("ReduceL2", values, axes=[1], keepdims=1), moved)


def _lifted(graph, parts, attention):
    weighed = graph.add("Mul", parts, graph.add("Unsqueeze", attention, graph.axes(2)))
    return graph.add("Add", parts, graph.add("ReduceSum", weighed, graph.axes(1), keepdims=1))


def _shape(graph, *attentions):
    """The shape `[n, k, m, k]`, of the attention `[n, k]` and `[m, k]`."""
    return graph.add("Concat", *(graph.add("Shape", attention) for attention in attentions), axis=0)


def _inverse_norms(graph, lifted, other_attention):
    """`1 / |Co(x_i, y_j)|`, `[n, m]`."""
    grams = graph.add("MatMul", lifted, graph.add("Transpose", lifted, perm=[0, 2, 1]))
    squared = graph.add("Einsum", grams, other_attention, other_attention, equation="nab,ma,mb->nm")
    trace = graph.add("ReduceSum", graph.add("Mul", lifted, lifted), graph.axes(1, 2), keepdims=0)
    return _inverse_root(graph, squared, graph.add("Unsqueeze", trace, graph.axes(1)))


def _unit(graph, x):
    x = _scaled(graph, x, [1])
    squared = graph.add("ReduceSum", graph.add("Mul", x, x), graph.axes(1), keepdims=1)
    return graph.add("Mul", x, _inverse_root(graph, squared, graph.number(1)))


def _scaled(graph, x, axes):
    largest = graph.add("ReduceMax", graph.add("Abs", x), axes=axes, keepdims=1)
    is_zero = graph.add("LessOrEqual", largest, graph.number(_SMALLEST))
    return graph.add("Div", x, graph.add("Where", is_zero, graph.number(1), largest))


def _inverse_root(graph, squared, scale):
    is_zero = graph.add("LessOrEqual", squared, graph.add("Mul", graph.number(_ROUNDING), scale))
    root = graph.add("Sqrt", graph.add("Where", is_zero, graph.number(1), squared))
    return graph.add("Where", is_zero, graph.number(0), graph.add("Div", graph.number(1), root))
