"""How far accelerated pictures are from the uncached ones: one by one, and as a set.

Pictures are (B, 3, H, W) in 0..1, latents (B, C, ...). Every function of two sets takes the uncached one second.
"""

from __future__ import annotations

import math

import kornia
import torch
from torch.nn import functional

# Pictures that differ in nothing have no finite PSNR; they count as this many dB in a mean.
PSNR_LIMIT = 100.0
SSIM_WINDOW = 11
PROJECTIONS = 256
COLOUR_GRID = 4
DETAIL_LEVELS = 4
SMALL = 1e-8


def relative_l2(values: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """||values - reference|| / ||reference|| of each element of the batch, (B)."""
    return (values - reference).flatten(1).norm(dim=1) / reference.flatten(1).norm(dim=1).clamp_min(SMALL)


def psnr(pictures: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of each picture, (B); infinite where a picture is the reference."""
    return -10 * (pictures - reference).square().flatten(1).mean(dim=1).log10()


def mean_psnr(values: torch.Tensor) -> float | None:
    """Mean of PSNR values, each at most 100 dB; None when all pictures are the reference."""
    if torch.isinf(values).all():
        return None
    return values.clamp(max=PSNR_LIMIT).mean().item()


def ssim(pictures: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Structural similarity of each picture (Wang et al. 2004, window of 11 x 11), (B)."""
    return kornia.metrics.ssim(pictures, reference, window_size=SSIM_WINDOW).flatten(1).mean(dim=1)


def edge_error(pictures: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Relative L2 error of the Sobel gradients of each picture, (B): what blur and ringing change most."""
    return relative_l2(kornia.filters.spatial_gradient(pictures), kornia.filters.spatial_gradient(reference))


def measures(
    latents: torch.Tensor, pictures: torch.Tensor, reference_latents: torch.Tensor, reference: torch.Tensor
) -> dict[str, float | int | None]:
    """Means over the pictures of every paired measure, and how many pictures equal the reference."""
    ratios = psnr(pictures, reference)
    return {
        "latent_l2": relative_l2(latents, reference_latents).mean().item(),
        "psnr": mean_psnr(ratios),
        "identical": int(torch.isinf(ratios).sum()),
        "ssim": ssim(pictures, reference).mean().item(),
        "edge_error": edge_error(pictures, reference).mean().item(),
    }


def features(pictures: torch.Tensor) -> torch.Tensor:
    """55 features of each picture: a 4 x 4 colour thumbnail, the contrast of each colour, and detail by scale.

    Detail is the logarithm of the energy between neighbouring levels of a pyramid of halved pictures.
    """
    thumbnail = functional.adaptive_avg_pool2d(pictures, COLOUR_GRID).flatten(1)
    contrast = pictures.flatten(2).std(dim=2)
    detail, level = [], pictures
    for _ in range(DETAIL_LEVELS):
        half = functional.avg_pool2d(level, 2)
        coarse = functional.interpolate(half, scale_factor=2, mode="bilinear")
        detail.append((level - coarse).square().flatten(1).mean(dim=1).add(SMALL).log())
        level = half
    return torch.cat([thumbnail, contrast, torch.stack(detail, dim=1)], dim=1)


def sliced_wasserstein(values: torch.Tensor, reference: torch.Tensor) -> float:
    """Mean 1-Wasserstein distance of two sets of features, both (N, F), along 256 fixed random directions."""
    generator = torch.Generator().manual_seed(0)
    directions = functional.normalize(torch.randn(PROJECTIONS, values.shape[1], generator=generator), dim=1)
    projected, expected = (torch.sort(rows @ directions.T, dim=0).values for rows in (values, reference))
    return (projected - expected).abs().mean().item()


def set_distances(
    sets: dict[str, torch.Tensor], reference: torch.Tensor, other_seeds: torch.Tensor
) -> tuple[dict[str, float], float]:
    """Sliced Wasserstein distance of each set of pictures to the uncached set, and the distance's noise floor.

    The floor is the distance between the uncached set and an uncached set of the same prompts from other seeds.
    Features are standardised by those two sets, so that none outweighs the others.
    """
    known = features(torch.cat([reference, other_seeds]))
    mean, spread = known.mean(dim=0), known.std(dim=0).clamp_min(math.sqrt(SMALL))

    def standard(pictures: torch.Tensor) -> torch.Tensor:
        return (features(pictures) - mean) / spread

    expected = standard(reference)
    floor = sliced_wasserstein(standard(other_seeds), expected)
    return {name: sliced_wasserstein(standard(pictures), expected) for name, pictures in sets.items()}, floor
