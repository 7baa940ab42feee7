"""Pieces of a network whose results are remembered: which they are, how they are found, kept and answered for."""
