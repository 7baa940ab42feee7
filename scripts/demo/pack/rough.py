"""A model without training whose trajectories are as rough as those of models that people run.

Its pictures are dead leaves (Lee, Mumford, Huang 2001): discs that cover each other, with statistics like photographs'.
Its answer is the posterior mean of Gaussian denoising, exact where the world is made of these pictures: of the whole
picture where there is much noise, of patches of 11 and then of 5 pixels where there is less, each from pictures moved
elsewhere. `sigma^2 + tau^2` stands for `sigma^2`: the smaller `tau` is, and the more the prompt weighs, the rougher.
"""

import comfy.latent_formats
import comfy.model_base
import comfy.patcher_extension
import comfy.sd
import comfy.supported_models_base
import numpy as np
import torch

SIDE, CHANNELS, PICTURES = 32, 3, 160
# Half of 50 plain steps (euler, cfg 5) leave 24 dB, EasyCache at half the cost 22.
TAU = 0.15
# Patch sizes, and the noise levels at which each rules alone; between them two are blended over log sigma.
SCALES = ((5, 0.2), (11, 1.5), (2 * SIDE, 6.0))
# How much more likely a picture is whose caption is the prompt, as a logarithm.
PROMPT_WEIGHT = 4.5
LEAVES, FINE = 120, 3
SMALLEST, LARGEST = 1.2, 9.0
STYLES = ("3d", "google", "twitter")


class RoughConfig(comfy.supported_models_base.BASE):
    """The host's description of the noise-predicting network with the SD noise schedule."""

    unet_extra_config = {}
    memory_usage_factor = 1.0


class RoughNetwork(torch.nn.Module):
    """The posterior mean as a network: pictures (K, C, S, S), captions (K, W), the empty prompt's context (W)."""

    def __init__(self, pictures: torch.Tensor, captions: torch.Tensor, empty: torch.Tensor, tau: float = TAU):
        super().__init__()
        self.tau = tau
        self.dtype = torch.float32
        for name, value in (("pictures", pictures), ("captions", captions), ("empty", empty)):
            self.register_buffer(name, value)
        self.register_buffer("log_sigmas", torch.zeros(0))
        self.blend = Blend()

    def forward(self, x, timesteps=None, context=None, control=None, transformer_options=None, **kwargs):
        """The noise in `x` (B, C, H, W), which is scaled to variance 1, through the host's wrappers."""
        options = transformer_options or {}
        wrappers = comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options)
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self._forward, self, wrappers)
        return executor.execute(x, timesteps, context, control, options, **kwargs)

    def _forward(self, x, timesteps, context, control, transformer_options, **kwargs):
        sigma = self._sigma(timesteps)
        noisy = x * (1 + sigma.view(-1, 1, 1, 1) ** 2).sqrt()
        likely = self._likely(context, len(x))
        answers = [self._denoised(*each) for each in zip(noisy, sigma.tolist(), likely, strict=True)]
        return (noisy - torch.stack(answers)) / sigma.view(-1, 1, 1, 1)

    def _sigma(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Noise levels of the host's timesteps, which may lie between two of the schedule's."""
        low = timesteps.floor().long().clamp(0, len(self.log_sigmas) - 2)
        share = timesteps - low
        return ((1 - share) * self.log_sigmas[low] + share * self.log_sigmas[low + 1]).exp()

    def _likely(self, context: torch.Tensor | None, batch: int) -> torch.Tensor:
        """Log-likelihood (B, K) of each picture under the prompt; the empty prompt knows no difference."""
        if context is None:
            return self.captions.new_zeros(batch, len(self.captions))
        apart = torch.nn.functional.normalize(context.mean(dim=1) - self.empty, dim=1, eps=1e-3)
        return PROMPT_WEIGHT * apart @ self.captions.T

    def _denoised(self, noisy: torch.Tensor, sigma: float, likely: torch.Tensor) -> torch.Tensor:
        """The posterior mean (C, H, W) of one picture."""
        parts = []
        for size, share in scale_shares(sigma):
            pictures = tiled(moved(self.pictures, size), *noisy.shape[-2:])
            parts.append((share, patch_mean(noisy, pictures, size, sigma**2 + self.tau**2, likely)))
        return self.blend(parts)


class Blend(torch.nn.Module):
    """The weighted sum of the scales' answers: the network's last layer."""

    def forward(self, parts: list[tuple[float, torch.Tensor]]) -> torch.Tensor:
        return sum(share * answer for share, answer in parts)


def scale_shares(sigma: float) -> list[tuple[int, float]]:
    """Patch sizes and their shares at a noise level, those of no share left out."""
    sizes, levels = zip(*SCALES, strict=True)
    place = float(np.interp(np.log(sigma), np.log(levels), range(len(levels))))
    return [(size, 1 - abs(place - at)) for at, size in enumerate(sizes) if abs(place - at) < 1]


def patch_mean(
    noisy: torch.Tensor, pictures: torch.Tensor, size: int, variance: float, likely: torch.Tensor
) -> torch.Tensor:
    """Mean of the pictures (K, C, H, W) pixel by pixel, weighted by how like the patch of `noisy` around it is.

    `likely` (K) is what is known of the pictures beforehand.
    """
    apart = (noisy - pictures).square().sum(dim=1)
    rows, columns = (band(side, size, apart) for side in apart.shape[-2:])
    weights = torch.softmax(likely.view(-1, 1, 1) - rows @ apart @ columns / (2 * variance), dim=0)
    return (weights.unsqueeze(1) * pictures).sum(dim=0)


def moved(pictures: torch.Tensor, size: int) -> torch.Tensor:
    """The pictures of a scale: moved, so that patches of one scale are not those of another."""
    return pictures.roll((size, 3 * size), dims=(-2, -1))


def band(side: int, size: int, like: torch.Tensor) -> torch.Tensor:
    """The matrix (side, side) that adds up the `size` neighbours around each place."""
    places = torch.arange(side, device=like.device)
    return ((places[:, None] - places).abs() <= size // 2).to(like)


def tiled(pictures: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Pictures (K, C, S, S) repeated or cut to (K, C, height, width)."""
    if pictures.shape[-2:] == (height, width):
        return pictures
    side = pictures.shape[-1]
    down, across = (torch.arange(length, device=pictures.device) % side for length in (height, width))
    return pictures[..., down[:, None], across]


def dead_leaves(seed: int) -> np.ndarray:
    """A picture (3, S, S) in -1..1: discs with a power law of sizes over each other, each with a texture of its own."""
    random = np.random.default_rng(seed)
    across = (np.arange(SIDE * FINE) + 0.5) / FINE
    rows, columns = across[:, None], across[None]
    picture = np.zeros((3, SIDE * FINE, SIDE * FINE))
    for _ in range(LEAVES):
        # The area that discs of a size cover is the same for all sizes.
        radius = (SMALLEST**-2 + random.random() * (LARGEST**-2 - SMALLEST**-2)) ** -0.5
        y, x = random.uniform(-2, SIDE + 2, size=2)
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        turn, wave, strength = random.uniform(0, np.pi), random.uniform(1.5, 6.0), random.uniform(0, 0.35)
        stripes = strength * np.sin(2 * np.pi / wave * (np.cos(turn) * rows + np.sin(turn) * columns))
        colour = random.uniform(-0.8, 0.8) + random.uniform(-0.4, 0.4, size=3)
        picture = np.where(inside, colour[:, None, None] + stripes, picture)
    return picture.clip(-1, 1).reshape(3, SIDE, FINE, SIDE, FINE).mean(axis=(2, 4))


def captions_of(words: list[str]) -> list[str]:
    """As many prompts as there are pictures, of words taken evenly from all, in turning styles."""
    known = [word for word in words if word not in STYLES]
    return [f"{known[i * len(known) // PICTURES]}, {STYLES[i % len(STYLES)]}" for i in range(PICTURES)]


def build_rough(clip: comfy.sd.CLIP, words: list[str], tau: float = TAU):
    """The host's model around the network, and its VAE; prompts are told apart by a demo model's text encoder."""
    contexts = [clip.encode_from_tokens(clip.tokenize(text)).mean(dim=1)[0] for text in ("", *captions_of(words))]
    empty, captions = contexts[0].float(), torch.stack(contexts[1:]).float()
    captions = torch.nn.functional.normalize(captions - empty, dim=1)
    pictures = torch.tensor(np.stack([dead_leaves(seed) for seed in range(PICTURES)]), dtype=torch.float32)
    config = RoughConfig({"disable_unet_model_creation": True, "dtype": torch.float32})
    config.latent_format = comfy.latent_formats.LatentFormat()
    config.latent_format.scale_factor = 1.0
    config.latent_format.latent_channels = CHANNELS
    model = comfy.model_base.BaseModel(config, model_type=comfy.model_base.ModelType.EPS)
    model.diffusion_model = RoughNetwork(pictures, captions, empty, tau).requires_grad_(False).train(False)
    model.diffusion_model.log_sigmas = model.model_sampling.log_sigmas.clone()
    return model, comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
