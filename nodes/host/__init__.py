"""The engine on one side, ComfyUI's wrappers, samplers and memory on the other."""
