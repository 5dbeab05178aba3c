"""Convolution the way that a CPU does it fast, behind two doors: `convolve` and `pooled`.

A caller asks first whether a door is worth going through (`is_faster`, `is_faster_pooled`).
Behind them, an `Axis` says how filters, and patches of them, slide along one axis of the image
(`axes.py`); a `Formulation` is two of these, with the cheapest size of patches (`formulation.py`,
the model of the costs). `patches.py` makes the products of matrices, `winograd.py` those of 3x3
filters that see many channels, `stencil.py` pooled maxima in one loop, and `depthwise.py`
convolutions of each channel on its own.
"""

import jax
import jax.numpy as jnp

from fgrad.functional._cpu import depthwise, patches, stencil
from fgrad.functional._cpu.axes import Axis
from fgrad.functional._cpu.formulation import Formulation, fastest
from fgrad.functional._sliding import Sliding
from fgrad.functional.activations import relu
from fgrad.types import Array


def is_faster(images: Array, weight: Array, sliding: Sliding) -> bool:
    """Return whether `convolve` takes these arguments, and is faster than the compiler's own."""
    return is_faster_pooled(images, sliding) or _is_depthwise(images, weight, sliding)


def is_faster_pooled(images: Array, sliding: Sliding) -> bool:
    """Return whether `pooled` takes these arguments, and is faster than one after the other."""
    plain = sliding.dilation == (1, 1) and sliding.groups == 1
    return plain and len(images) > 0 and _is_free(images)


def convolve(images: Array, weight: Array, bias: Array | None, sliding: Sliding) -> Array:
    """Return the convolution of a batch (N, C, H, W)."""
    if _is_depthwise(images, weight, sliding):
        output = depthwise.convolve(
            images, weight, sliding.strides, sliding.padding, sliding.dilation
        )
        return output if bias is None else output + bias[None, :, None, None]
    formulation = _fastest(images, weight, sliding, (1, 1))

    def convolved(part: Array) -> Array:
        (outputs,) = patches.convolve(patches.batch_last(part), weight, formulation)
        return patches.as_images(_shifted(outputs, bias))

    return patches.in_parts(convolved, images)


def pooled(
    images: Array, weight: Array, bias: Array | None, sliding: Sliding, window: tuple[int, int]
) -> Array:
    """Return the convolution of a batch (N, C, H, W), rectified and pooled."""
    formulation = _fastest(images, weight, sliding, window)

    def maxima(part: Array) -> Array:
        found = stencil.first_maximum(patches.batch_last(part), weight, formulation)
        return patches.as_images(relu(_shifted(found, bias)))

    return patches.in_parts(maxima, images, keep_last=True)


def _is_depthwise(images: Array, weight: Array, sliding: Sliding) -> bool:
    _, in_group, height, width = weight.shape
    apart = in_group == 1 and sliding.groups > 1
    return apart and height * width <= depthwise.MOST_TAPS and _is_free(images)


def _is_free(images: Array) -> bool:
    """Return whether images may be cut and joined, and hold enough bits to be summed in."""
    wide = images.dtype in (jnp.float32, jnp.float64)
    # Where the axes lie on devices by explicit sharding, they cannot be cut and joined freely.
    return wide and all(axis is None for axis in jax.typeof(images).sharding.spec)


def _shifted(outputs: Array, bias: Array | None) -> Array:
    """Return outputs, or their maxima, laid out as a slab, with the bias."""
    return outputs if bias is None else outputs + bias[None, None, :, None, None, None]


def _fastest(
    images: Array, weight: Array, sliding: Sliding, window: tuple[int, int]
) -> Formulation:
    """Return the products that compute a convolution fastest, as far as pooling windows use it."""
    sizes = sliding.output_sizes(images, weight)
    rows, columns = (
        Axis(
            size=images.shape[axis],
            kernel=weight.shape[axis],
            stride=sliding.strides[axis - 2],
            padding=sliding.padding[axis - 2][0],
            outputs=sizes[axis - 2] // window[axis - 2] * window[axis - 2],
            window=window[axis - 2],
        )
        for axis in (2, 3)
    )
    out_channels, in_channels, *_ = weight.shape
    return fastest(len(images), out_channels, in_channels, rows, columns)
