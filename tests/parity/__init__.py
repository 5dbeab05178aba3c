"""What is held against an installed PyTorch."""
