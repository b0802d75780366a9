"""Local steps: many steps without communication, then one exchange of compressed differences, and an outer optimizer."""
