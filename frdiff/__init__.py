"""The caching engine: what to compute at each step, what to remember, and how to answer from memory.

It knows torch and nothing of ComfyUI, so it runs on any `torch.nn.Module`.
"""
