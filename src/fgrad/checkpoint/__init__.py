"""Save a run and go on from there, with nothing lost wherever the process was stopped.

Orbax writes the arrays. What makes a checkpoint whole is here: it is written under a hidden name,
with a manifest of every file's size and checksum last, and takes its own name only when all of it
is on the disk. So a checkpoint that is cut short or altered is found out, and the one before it is
there to go on from.

`saving.py` orders the folders, `_arrays.py` has Orbax write and read the arrays, and `_manifest.py`
tells whether a folder is whole.
"""

from fgrad.checkpoint.saving import Checkpoint, exists, restore, save

__all__ = ["Checkpoint", "exists", "restore", "save"]
