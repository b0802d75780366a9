"""The step after an exchange: rules for the one scalar, and the optimizer that applies it."""
