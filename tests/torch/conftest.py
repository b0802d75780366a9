"""One thread each: tests share the machine, and torch's threads spin while they wait for a core."""

import torch

torch.set_num_threads(1)
