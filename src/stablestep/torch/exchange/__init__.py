"""One exchange of gradients inside DistributedDataParallel: the hook, its state, and what travels in which collective."""
