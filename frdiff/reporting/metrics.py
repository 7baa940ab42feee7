"""How like two pictures or two latents are."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..typed import norm

# Equal pictures have no finite PSNR.
PSNR_LIMIT = 100.0
# Of SSIM as published (Wang et al. 2004): window, its width, and the two constants for values in 0..1.
WINDOW, SIGMA, C1, C2 = 11, 1.5, 0.01**2, 0.03**2


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean PSNR in dB of pictures (B, H, W, C) in 0..1, at most 100 (docs/math.md, equation 6.3)."""
    return float(psnr_of_each(a, b).mean())


def psnr_of_each(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """PSNR in dB of each of the pictures (B, ...) in 0..1, at most 100: (B,)."""
    error = (a.float() - b.float()).square().flatten(1).mean(dim=1)
    return (-10 * error.log10()).clamp(max=PSNR_LIMIT)


def ssim(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean SSIM of pictures (B, H, W, C) in 0..1, with a Gaussian window of 11 x 11 (docs/math.md, equation 6.4)."""
    a, b = (image.float().movedim(-1, 1) for image in (a, b))
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    return float((likeness / ((mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2))).mean())


def latent_error(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean over the batch of `|b - a| / |a|`: the error of latent `b` relative to the reference `a`.

    Both are (B, C, ...) (docs/math.md, equation 6.2).
    """
    apart = norm((b.float() - a.float()).flatten(1), dim=1)
    return float((apart / norm(a.float().flatten(1), dim=1).clamp(min=torch.finfo(torch.float32).tiny)).mean())


def difference(a: torch.Tensor, b: torch.Tensor, amplify: float) -> torch.Tensor:
    """Pictures (B, H, W, 3) of where (B, H, W, C) differ: black is equal, `amplify` times the mean difference."""
    apart = (a.float() - b.float()).abs().mean(dim=-1, keepdim=True) * amplify
    return apart.clamp(0, 1).expand(*apart.shape[:-1], 3).contiguous()


def _blurred(image: torch.Tensor) -> torch.Tensor:
    """A picture (B, C, H, W) under the Gaussian window, mirrored at its edges."""
    size = [min(WINDOW, 2 * ((side - 1) // 2) + 1) for side in image.shape[-2:]]
    for axis, length in zip((-2, -1), size, strict=True):
        image = _blurred_along(image, axis, length)
    return image


def _blurred_along(image: torch.Tensor, axis: int, length: int) -> torch.Tensor:
    """A picture (B, C, H, W) blurred along one axis by `length` weights, of the same shape."""
    places = torch.arange(length, device=image.device, dtype=image.dtype) - length // 2
    weights = torch.exp(-(places**2) / (2 * SIGMA**2))
    weights = weights / weights.sum()
    channels, half = image.shape[1], length // 2
    shape, padding = ((length, 1), (0, 0, half, half)) if axis == -2 else ((1, length), (half, half, 0, 0))
    kernel = weights.reshape(1, 1, *shape).expand(channels, 1, *shape)
    return F.conv2d(F.pad(image, padding, mode="reflect"), kernel, groups=channels)
