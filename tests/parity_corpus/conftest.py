"""Where PyTorch is not installed, the ports are collected and its programs are not."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("torch") else ["torch_programs.py"]
