"""Training steps over a slow link: real processes in network namespaces, a link shaped by tc: `python -m benchmarks.link`."""
