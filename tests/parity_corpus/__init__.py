"""Ports that are right, and the same with one mistake each, for a parity check to tell apart."""

from parity_corpus import lenet, linear, mlp, quadratic, transformer
from parity_corpus.cases import Mistake, Net, Port, check

NETS: tuple[Net, ...] = (linear.NET, quadratic.NET, lenet.NET, mlp.NET, transformer.NET)

__all__ = ["NETS", "Mistake", "Net", "Port", "check"]
