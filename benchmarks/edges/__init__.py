"""How large may the step be, measured on small trainings: edges, best steps and ramps, their table, and the score of every predictor."""
