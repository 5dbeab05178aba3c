"""Real images, ready for training: data sets, PyTorch's shuffle order, and what is done to pixels.

Images are uint8 NumPy arrays of shape (N, C, H, W) until `to_float` makes numbers of them. What
reads scikit-learn, Pillow or pooch imports it when called: `pip install "fgrad[vision]"`.
"""

from fgrad.data.bundled import digits
from fgrad.data.cifar import cifar10
from fgrad.data.dataset import Dataset, Splits, checked
from fgrad.data.downloads import download
from fgrad.data.idx import fashion_mnist, mnist
from fgrad.data.order import epoch_order, split
from fgrad.data.pictures import image_folder, read_image
from fgrad.data.pixels import channel_statistics, standardise, to_float
from fgrad.data.transforms import pad, random_crop, random_flip

__all__ = [
    "Dataset",
    "Splits",
    "channel_statistics",
    "checked",
    "cifar10",
    "digits",
    "download",
    "epoch_order",
    "fashion_mnist",
    "image_folder",
    "mnist",
    "pad",
    "random_crop",
    "random_flip",
    "read_image",
    "split",
    "standardise",
    "to_float",
]
