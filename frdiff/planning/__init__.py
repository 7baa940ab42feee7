"""What to do at each step of a run: plans, the rules that make them, and what these know of a run."""
