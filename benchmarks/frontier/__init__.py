"""Bytes to a target: what each way to train with fewer bytes needs until it is as good as tuned AdamW."""
