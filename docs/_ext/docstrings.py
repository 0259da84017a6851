"""Reads the docstrings of the package: `x` is code, and a link if x is a public name; formulas keep their lines.

Signatures of several lines become valid HTML.
"""

import re

import public
import sphinx.addnodes
from docutils import nodes


def setup(app):
    """Adds the role `code_or_link`, and the rewriting of docstrings and signatures."""
    app.add_role("code_or_link", _code_or_link)
    app.connect("autodoc-process-docstring", _keep_formulas, priority=100)  # before napoleon
    app.connect("doctree-read", _link_names)
    app.connect("doctree-read", _name_attributes)
    app.connect("missing-reference", _missing)
    app.connect("html-page-context", _without_lists)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _link_names(app, doctree):
    """Makes links of public names in the code of a page; `compare` and the like may be words for something else."""
    for code in list(doctree.findall(nodes.literal)):
        text = code.astext().removesuffix("()")
        if isinstance(code.parent, nodes.reference | sphinx.addnodes.pending_xref):
            continue
        if "_" not in text and not text[:1].isupper():
            continue
        if target := public.home_of(text):
            code.replace_self(_link(code.deepcopy(), target, app.env.docname))


def _name_attributes(app, doctree):
    """Calls the attributes of a class what our docstrings call them; Sphinx calls them variables."""
    for name in doctree.findall(nodes.field_name):
        if name.astext() == "Variables":
            name.children = [nodes.Text("Attributes")]


def _link(code, target, page):
    of = {"refdomain": "py", "reftype": "obj", "reftarget": target, "refexplicit": True, "refdoc": page}
    return sphinx.addnodes.pending_xref("", code, **of)


def _code_or_link(name, rawtext, text, lineno, inliner, options=None, content=None):
    code = nodes.literal(text, text, classes=["code"])
    target = public.home_of(text.removesuffix("()"))
    if target is None:
        return [code], []
    return [_link(code, target, inliner.document.settings.env.docname)], []


def _keep_formulas(app, what, name, obj, options, lines):
    """Makes a literal block of each indented block behind a colon in the prose of a docstring."""
    section = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Example|Examples|References|Note):$")
    in_section = False
    for row, line in enumerate(lines):
        if section.match(line):
            in_section = True
        elif in_section and line and not line.startswith(" "):
            in_section = False
        after = lines[row + 1 : row + 3]
        if not in_section and line.endswith(":") and len(after) == 2 and not after[0] and after[1].startswith("    "):
            lines[row] = line + ":"


def _missing(app, env, node, content):
    """A type in a signature that has no page is shown as it is."""
    if node.get("refdomain") != "py":
        return None
    target = node.get("reftarget", "")
    if node.get("reftype") in ("class", "data", "exc", "obj") and not public.home_of(target):
        return content
    return None


def _without_lists(app, pagename, templatename, context, doctree):
    """Replaces the lists of parameters that Sphinx writes: a list of definitions without terms is not valid HTML."""

    def lines(found):
        parameters = found[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
        return f'<span class="sig-lines">{parameters}</span>'

    if "body" in context:
        context["body"] = re.sub(
            r"<dl>\n((?:<dd>(?:(?!</?dl).)*?</dd>\n)+)</dl>", lines, context["body"], flags=re.DOTALL
        )
