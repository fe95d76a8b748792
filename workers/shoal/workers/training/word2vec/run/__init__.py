"""A training run: rounds, schedule, checkpoints, and the pool of learners."""
