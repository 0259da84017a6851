"""Writes formulas as MathML, which browsers show by themselves: no script and no network are needed."""

import latex2mathml.converter


def setup(app):
    """Adds the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("config-inited", lambda app, config: config.__setattr__("html_math_renderer", "mathml"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer, node):
    import docutils.nodes

    writer.body.append(latex2mathml.converter.convert(node.astext()))
    raise docutils.nodes.SkipNode


def _block(writer, node):
    import docutils.nodes

    formula = latex2mathml.converter.convert(node.astext(), display="block")
    writer.body.append(f'<div class="math">{formula}</div>\n')
    raise docutils.nodes.SkipNode
