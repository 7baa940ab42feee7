"""The sampler as the engine sees it: noise levels, the linear recursion it is, and how to tell it from the run."""
