"""How large may the step be, measured on small trainings: edges, best steps and ramps, the table made of them, and every predictor's score."""
