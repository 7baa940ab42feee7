"""The codec between pictures and latents, and the host's VAE around it.

A picture is halved, cut into 4 x 4 patches, and the patches' strongest principal components are the latents. Each
component is divided by the root of its standard deviation, so that errors in weak (fine detail) components shrink
when decoded. A small convolutional network adds the detail that the components leave out.
"""

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch
from torch.nn import functional

PATCH = 4
SCALE = 2 * PATCH
PATCH_VALUES = 3 * PATCH * PATCH


class PatchCodec(torch.nn.Module):
    """Pictures (B, 3, H, W) in -1..1 to latents (B, channels, H / 8, W / 8) and back."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        ops = comfy.ops.manual_cast
        self.to_latent = ops.Conv2d(PATCH_VALUES, channels, 1)
        self.to_patch = ops.Conv2d(channels, PATCH_VALUES, 1)
        self.coarse_in = ops.Conv2d(channels, width, 3, padding=1)
        self.coarse = torch.nn.ModuleList(ops.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.coarse_out = ops.Conv2d(width, PATCH * PATCH * 8, 1)
        self.fine_in = ops.Conv2d(8 + 3, 24, 3, padding=1)
        self.fine = ops.Conv2d(24, 24, 3, padding=1)
        self.fine_out = ops.Conv2d(24, 3 * 4, 3, padding=1)

    def encode(self, pixels: torch.Tensor, **kwargs) -> torch.Tensor:
        half = functional.avg_pool2d(pixels, 2)
        return self.to_latent(functional.pixel_unshuffle(half, PATCH))

    def decode(self, latents: torch.Tensor, **kwargs) -> torch.Tensor:
        half = functional.pixel_shuffle(self.to_patch(latents), PATCH)
        return functional.interpolate(half, scale_factor=2, mode="bicubic") + self._detail(latents, half)

    def _detail(self, latents: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
        x = self.coarse_in(latents)
        for layer in self.coarse:
            x = x + layer(functional.silu(x))
        x = functional.pixel_shuffle(self.coarse_out(functional.silu(x)), PATCH)
        x = functional.silu(self.fine_in(torch.cat([x, half], dim=1)))
        x = functional.silu(self.fine(x))
        return functional.pixel_shuffle(self.fine_out(x), 2)

    def rgb_factors(self) -> tuple[list, list]:
        """The mean colour of a patch as a linear map of its latent: factors (channels, 3) and bias (3)."""
        weight = self.to_patch.weight.detach().reshape(3, PATCH * PATCH, -1).mean(dim=1)
        bias = self.to_patch.bias.detach().reshape(3, PATCH * PATCH).mean(dim=1)
        return weight.T.tolist(), bias.tolist()


class CodecVAE(comfy.sd.VAE):
    """The host's VAE with a codec in it; tiling, batching and devices stay the host's."""

    def __init__(self, codec: torch.nn.Module):
        # The host's pixel-space VAE sets every attribute that this version of the host needs.
        super().__init__(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
        self.first_stage_model = codec.train(False).requires_grad_(False)
        self.latent_channels = codec.to_latent.out_channels
        self.working_dtypes = [torch.float32]
        self.size = None
        offload = comfy.model_management.vae_offload_device()
        codec.to(offload)
        self.patcher = comfy.model_patcher.ModelPatcher(codec, load_device=self.device, offload_device=offload)


class DemoVAE(CodecVAE):
    """The VAE of pictures."""

    def __init__(self, codec: PatchCodec):
        super().__init__(codec)
        self.downscale_ratio = self.upscale_ratio = SCALE
        self.memory_used_encode = _bytes_for_encoding
        self.memory_used_decode = _bytes_for_decoding


def _bytes_for_encoding(shape, dtype) -> int:
    return 16 * shape[2] * shape[3] * comfy.model_management.dtype_size(dtype)


def _bytes_for_decoding(shape, dtype) -> int:
    return 64 * shape[2] * shape[3] * SCALE * SCALE * comfy.model_management.dtype_size(dtype)
