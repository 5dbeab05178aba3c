"""The figure of a graph as SVG, with nothing but text, and as PNG, with matplotlib."""

import html
import io

from fgrad.graph.nodes import Graph
from fgrad.graph.scene import FONT_SIZE, MUTED, Box, Curve, Text, scene

_FONT = "'DejaVu Sans Mono', Menlo, Consolas, monospace"
_DPI = 160


def svg(graph: Graph) -> str:
    """Return the figure as SVG: text and curves, which every browser shows and no package draws.

    Args:
        graph: The graph.

    Returns:
        An `<svg>` element.

    Example:
        >>> import jax.numpy as jnp
        >>> from fgrad.graph import graph
        >>> svg(graph(jnp.sin, jnp.float32(1.0))).count("<rect")
        4
    """
    page = scene(graph)
    size = f"{page.width:.0f} {page.height:.0f}"
    width, height = size.split()
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{width}" '
            f'height="{height}" font-family="{_FONT}" font-size="{FONT_SIZE:g}" '
            'text-anchor="middle">',
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
            f'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="{MUTED}"/></marker>'
            "</defs>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *map(_svg_curve, page.curves),
            *map(_svg_box, page.boxes),
            *map(_svg_text, page.texts),
            "</svg>",
        ]
    )


def _svg_curve(curve: Curve) -> str:
    points = [f"{x:.1f} {y:.1f}" for x, y in curve.points]
    path = f"M{points[0]}C{' '.join(points[1:])}"
    return f'<path d="{path}" fill="none" stroke="{MUTED}" marker-end="url(#arrow)"/>'


def _svg_box(box: Box) -> str:
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{box.radius:g}" fill="{box.fill}" stroke="{box.stroke}" '
        f'stroke-width="{box.stroke_width:g}"/>'
    )


def _svg_text(text: Text) -> str:
    bold = ' font-weight="bold"' if text.bold else ""
    # The baseline of a line that is centred on y: renderers disagree on dominant-baseline.
    return (
        f'<text x="{text.x:.1f}" y="{text.y + 0.35 * FONT_SIZE:.1f}" fill="{text.color}"{bold}>'
        f"{html.escape(text.text)}</text>"
    )


def png(graph: Graph) -> bytes:
    """Return the figure as a PNG file.

    Args:
        graph: The graph.

    Returns:
        The file's bytes.

    Example:
        >>> import jax.numpy as jnp
        >>> from fgrad.graph import graph
        >>> png(graph(jnp.sin, jnp.float32(1.0)))[1:4]
        b'PNG'
    """
    # Loaded here: the other formats do not need it, and it takes a while.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
    from matplotlib.path import Path

    page = scene(graph)
    # A point is 1/72 inch, as the page's unit is taken to be.
    figure = Figure(figsize=(page.width / 72, page.height / 72), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, page.width), ylim=(page.height, 0))
    axes.set_axis_off()
    for curve in page.curves:
        path = Path(curve.points, [Path.MOVETO, *[Path.CURVE4] * (len(curve.points) - 1)])
        axes.add_patch(
            FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=9, color=MUTED, linewidth=1)
        )
    for box in page.boxes:
        axes.add_patch(
            FancyBboxPatch(
                (box.x, box.y),
                box.width,
                box.height,
                boxstyle=f"round,pad=0,rounding_size={box.radius}",
                facecolor=box.fill,
                edgecolor=box.stroke,
                linewidth=box.stroke_width,
            )
        )
    for text in page.texts:
        axes.text(
            text.x,
            text.y,
            text.text,
            color=text.color,
            fontfamily="DejaVu Sans Mono",
            fontsize=FONT_SIZE,
            fontweight="bold" if text.bold else "normal",
            horizontalalignment="center",
            verticalalignment="center_baseline",
            parse_math=False,
        )
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()
