"""The benchmark, and the studies that chose the engine's constants."""
