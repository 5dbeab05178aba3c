"""Why a port differs: mistakes that people make, each tried."""

from fgrad.parity.causes.find import find_cause

__all__ = ["find_cause"]
