"""Which step to train with: one fast ramp, ordinary short runs until the edge is bracketed, and a table of small trainings."""
