"""The governor: a rule that may leave out a step, go back to a good copy, and lower the step, from what every worker knows anyway."""
