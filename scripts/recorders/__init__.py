"""What PyTorch computes, a module a subject: `record(folder)` writes its files."""
