"""The sections, one module or folder each: `run(context)` gives its `Section`. The table of them is registry.py."""
