"""The codec between clips and latents, and the host's VAE around it.

Frames are halved and cut into blocks of 4 frames x 4 x 4 pixels, whose strongest principal components are the latents.
A block is made of its own latents and its neighbours', as least squares say.
The first frame counts four times, so that 4 T - 3 frames make T latent frames, as with the host's Wan models, and a
latent frame of its own stands for a still picture. A small convolutional network adds what the components leave out.
"""

import math

import comfy.model_management
import comfy.ops
import torch
from torch.nn import functional

from .vae import CodecVAE

TIME = 4
PATCH = 4
SCALE = 2 * PATCH
REACH = 3
BLOCK_VALUES = 3 * TIME * PATCH * PATCH
DETAIL = 8


class ClipCodec(torch.nn.Module):
    """Clips (B, 3, 4 T - 3, H, W) in -1..1 to latents (B, channels, T, H / 8, W / 8) and back."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        ops = comfy.ops.manual_cast
        self.to_latent = ops.Conv3d(BLOCK_VALUES, channels, 1)
        self.to_block = ops.Conv3d(channels, BLOCK_VALUES, REACH)
        self.coarse_in = ops.Conv3d(channels, width, 3, padding=1)
        self.coarse = torch.nn.ModuleList(ops.Conv3d(width, width, 3, padding=1) for _ in range(2))
        self.coarse_out = ops.Conv3d(width, TIME * PATCH * PATCH * DETAIL, 1)
        self.fine_in = ops.Conv3d(DETAIL + 3, 24, (1, 3, 3), padding=(0, 1, 1))
        self.fine = ops.Conv3d(24, 24, (1, 3, 3), padding=(0, 1, 1))
        self.fine_out = ops.Conv3d(24, 3 * 4, (1, 3, 3), padding=(0, 1, 1))

    def encode(self, pixels: torch.Tensor, **kwargs) -> torch.Tensor:
        return self.to_latent(blocks_of(pixels))

    def decode(self, latents: torch.Tensor, **kwargs) -> torch.Tensor:
        half = unfold(self.to_block(with_edges(latents)))
        frames = half.shape[2]
        flat = half.transpose(1, 2).flatten(0, 1)
        full = functional.interpolate(flat, scale_factor=2, mode="bicubic").unflatten(0, (-1, frames)).transpose(1, 2)
        return (full + self._detail(latents, half))[:, :, TIME - 1 :]

    def _detail(self, latents: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
        x = self.coarse_in(latents)
        for layer in self.coarse:
            x = x + layer(functional.silu(x))
        x = unfold(self.coarse_out(functional.silu(x)))
        x = functional.silu(self.fine_in(torch.cat([x, half], dim=1)))
        x = self.fine_out(functional.silu(self.fine(x)))
        return functional.pixel_shuffle(x.transpose(1, 2), 2).transpose(1, 2)

    def rgb_factors(self) -> tuple[list, list]:
        """The mean colour of a block as a linear map of its latent: factors (channels, 3) and bias (3)."""
        weight = self.to_block.weight.detach().sum(dim=(2, 3, 4)).reshape(3, BLOCK_VALUES // 3, -1).mean(dim=1)
        bias = self.to_block.bias.detach().reshape(3, BLOCK_VALUES // 3).mean(dim=1)
        return weight.T.tolist(), bias.tolist()


def with_edges(latents: torch.Tensor) -> torch.Tensor:
    """Latents (B, C, T, H, W) with their outermost values once more on all sides."""
    return functional.pad(latents, (REACH // 2,) * 6, mode="replicate")


def blocks_of(pixels: torch.Tensor) -> torch.Tensor:
    """Halved blocks (B, BLOCK_VALUES, T, H / 8, W / 8) of a clip (B, 3, 4 T - 3, H, W)."""
    padded = torch.cat([pixels[:, :, :1].expand(-1, -1, TIME - 1, -1, -1), pixels], dim=2)
    half = functional.avg_pool3d(padded, (1, 2, 2))
    half = half.unflatten(4, (-1, PATCH)).unflatten(3, (-1, PATCH)).unflatten(2, (-1, TIME))
    return half.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)


def unfold(blocks: torch.Tensor) -> torch.Tensor:
    """Values (B, C, 4 T, 4 H, 4 W) of blocks (B, C x 64, T, H, W)."""
    values = blocks.unflatten(1, (-1, TIME, PATCH, PATCH)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return values.flatten(6, 7).flatten(4, 5).flatten(2, 3)


class DemoClipVAE(CodecVAE):
    """The VAE of clips, as the host's Wan VAE has them."""

    def __init__(self, codec: ClipCodec):
        super().__init__(codec)
        self.latent_dim = 3
        self.upscale_ratio = (lambda frames: max(0, frames * TIME - TIME + 1), SCALE, SCALE)
        self.upscale_index_formula = self.downscale_index_formula = (TIME, SCALE, SCALE)
        self.downscale_ratio = (lambda frames: max(0, math.floor((frames + TIME - 1) / TIME)), SCALE, SCALE)
        self.memory_used_encode = _bytes_for_encoding
        self.memory_used_decode = _bytes_for_decoding


def _bytes_for_encoding(shape, dtype) -> int:
    return 16 * math.prod(shape[2:]) * comfy.model_management.dtype_size(dtype)


def _bytes_for_decoding(shape, dtype) -> int:
    return 64 * math.prod(shape[2:]) * TIME * SCALE * SCALE * comfy.model_management.dtype_size(dtype)
