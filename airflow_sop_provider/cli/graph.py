"""`sop graph`: the steps of an SOP as Mermaid text or as an SVG picture.

Both come from the same nodes and arrows. Mermaid needs nothing installed and is drawn by GitHub, GitLab
and most wikis; the SVG is laid out by Graphviz through its Python library, with `dot` doing the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from airflow_sop_provider.cli.console import read_sop
from airflow_sop_provider.cli.words import action_in_words
from airflow_sop_provider.sop import Sop

__all__ = ["draw", "mermaid", "svg"]

Form = Literal["mermaid", "svg"]


@dataclass(frozen=True)
class _Node:
    id: str
    lines: tuple[str, ...]
    shape: Literal["box", "diamond", "hexagon", "stack", "undo"]


@dataclass(frozen=True)
class _Arrow:
    start: str
    end: str
    label: str = ""
    dashed: bool = False


def draw(file: Path, form: str | None, output: Path | None) -> None:
    """Write the graph of the SOP in `file` to `output`, or to stdout.

    :param form: `mermaid` or `svg`; None takes svg for an output that ends in `.svg`, else mermaid.
    """
    sop = read_sop(file).sop
    if form is None:
        form = "svg" if output is not None and output.suffix.lower() == ".svg" else "mermaid"
    text = svg(sop) if form == "svg" else mermaid(sop)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"Wrote {output}", err=True)


def mermaid(sop: Sop) -> str:
    """Return the graph as a Mermaid flowchart."""
    brackets = {"box": "[]", "diamond": "{}", "hexagon": ("{{", "}}"), "stack": ("[[", "]]"), "undo": ("([", "])")}
    nodes = list(_nodes(sop))
    names = {node.id: f"n{number}" for number, node in enumerate(nodes)}  # an id may be a Mermaid keyword: end
    lines = ["flowchart TD"]
    for node in nodes:
        opening, closing = brackets[node.shape]
        label = "<br/>".join(_mermaid_text(line) for line in node.lines)
        lines.append(f'    {names[node.id]}{opening}"{label}"{closing}')
    for arrow in _arrows(sop):
        label = f'|"{_mermaid_text(arrow.label)}"|' if arrow.label else ""
        lines.append(f"    {names[arrow.start]} {'-.->' if arrow.dashed else '-->'}{label} {names[arrow.end]}")
    return "\n".join(lines) + "\n"


def svg(sop: Sop) -> str:
    """Return the graph as an SVG document.

    :raises click.ClickException: when Graphviz's `dot` is not installed.
    """
    import graphviz

    shapes = {"box": "box", "diamond": "diamond", "hexagon": "hexagon", "stack": "box3d", "undo": "box"}
    picture = graphviz.Digraph(
        name=sop.sop,
        node_attr={"fontname": "Helvetica", "fontsize": "11", "margin": "0.15,0.08"},
        edge_attr={"fontname": "Helvetica", "fontsize": "9"},
    )
    for node in _nodes(sop):
        label = graphviz.escape("\n".join(node.lines)).replace("\n", r"\n")
        style = "rounded,dashed" if node.shape == "undo" else ""
        picture.node(node.id, label, shape=shapes[node.shape], style=style)
    for arrow in _arrows(sop):
        style = "dashed" if arrow.dashed else ""
        picture.edge(arrow.start, arrow.end, graphviz.escape(arrow.label), style=style)
    try:
        return str(picture.pipe(format="svg", encoding="utf-8"))
    except graphviz.ExecutableNotFound as error:
        raise click.ClickException(
            "Graphviz's `dot` is not installed. Install it (Debian: apt-get install graphviz; "
            "macOS: brew install graphviz), or use --format mermaid."
        ) from error


def _nodes(sop: Sop) -> Iterator[_Node]:
    for step in sop.steps:
        lines = (step.id, action_in_words(step))
        if step.kind == "decision":
            yield _Node(step.id, lines, "diamond")
        elif step.kind == "approval":
            yield _Node(step.id, lines, "hexagon")
        elif step.for_each is not None:
            yield _Node(step.id, (*lines, "for each item"), "stack")
        else:
            yield _Node(step.id, lines, "box")
    for undo in sop.rollback:
        yield _Node(undo.id, (undo.id, action_in_words(undo)), "undo")


def _arrows(sop: Sop) -> Iterator[_Arrow]:
    for step in sop.steps:
        for need in step.needs:
            yield _Arrow(need, step.id, f"when {step.when}" if step.when is not None else "")
    for undo in sop.rollback:
        yield _Arrow(undo.after, undo.id, "undone by", dashed=True)


def _mermaid_text(text: str) -> str:
    """Escape what Mermaid or its HTML labels would read as markup."""
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
