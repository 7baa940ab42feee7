"""The smallest model that samples as real ones do: the exact denoiser of a few pictures, in the host's own classes."""

import torch
from subjects import Subject

CHANNELS, SIZE, PICTURES = 4, 16, 3
# Of the pixels around each picture; how strongly the likelihoods of single pixels count for the whole.
VARIANCE, SHARPNESS = 0.1, 0.05


class Mixture(torch.nn.Module):
    """The velocity of a flow model whose pictures are some, with noise around them; the prompt weighs them.

    As a trained network it knows pictures of its input's size and no places: each input is taken to be a whole picture.
    """

    dtype = torch.float32

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randn(PICTURES, CHANNELS, 5, 5, generator=generator)
        grown = torch.nn.functional.interpolate(coarse, (2 * SIZE, 2 * SIZE), mode="bicubic", align_corners=True)
        self.pictures = torch.nn.Parameter(grown, requires_grad=False)

    def forward(self, x, timesteps, context=None, **kwargs):
        """(B, C, H, W), (B,), (B, 1, PICTURES) -> (B, C, H, W)."""
        pictures = self.pictures[..., : x.shape[2], : x.shape[3]]
        sigma = (timesteps / 1000).view(-1, 1, 1, 1, 1)
        kept, away = 1 - sigma, x[:, None] - (1 - sigma) * pictures
        spread = kept**2 * VARIANCE + sigma**2
        likely = -0.5 * SHARPNESS * (away**2 / spread).sum(dim=(2, 3, 4)) + context[:, 0]
        each = pictures + kept * VARIANCE / spread * away
        denoised = (likely.softmax(dim=1)[..., None, None, None] * each).sum(dim=1)
        return (x - denoised) / sigma[:, 0].clamp(min=1e-3)


def mixture_subject(host, batch=1):
    """The model with two prompts, and an empty latent."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models_base

    class Config(comfy.supported_models_base.BASE):
        sampling_settings = {"shift": 1.0}
        latent_format = comfy.latent_formats.SD15
        memory_usage_factor = 1.0

    model = comfy.model_base.BaseModel(Config({"disable_unet_model_creation": True}), comfy.model_base.ModelType.FLOW)
    model.diffusion_model, model.latent_format = Mixture(), comfy.latent_formats.SD15()
    device = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)
    positive, negative = ([[torch.tensor([[weights]]), {}]] for weights in ((1.0, 0.0, 0.5), (0.0, 0.3, 0.0)))
    return Subject(host, patcher, positive, negative, {"samples": torch.zeros(batch, CHANNELS, SIZE, SIZE)})
