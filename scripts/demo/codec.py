"""The codec of the demo models between pictures and latents: fitted to the pictures' patches, then trained."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

from . import training
from .training_data import Dataset, to_pixels

CODEC = {"channels": 16, "width": 48}
CODEC_NOISE = 0.2
CODEC_RATE = 2e-3


def fit_codec(codec: torch.nn.Module, pixels: torch.Tensor, weights: torch.Tensor) -> None:
    """Sets the codec's linear maps from the weighted principal components of the pictures' patches."""
    patches = functional.pixel_unshuffle(functional.avg_pool2d(pixels, 2), 4)
    patches = patches.permute(0, 2, 3, 1).reshape(-1, patches.shape[1]).double()
    share = weights.double().repeat_interleave(len(patches) // len(weights)).unsqueeze(1)
    set_components(codec.to_latent, codec.to_patch, patches, share / share.sum())


@torch.no_grad()
def set_components(encoder: torch.nn.Module, decoder: torch.nn.Module, rows: torch.Tensor, share: torch.Tensor) -> None:
    """Makes two linear maps the principal components of rows (N, V), each of which has its share (N, 1) of one."""
    mean = (rows * share).sum(dim=0)
    values, vectors = torch.linalg.eigh((rows - mean).T @ ((rows - mean) * share))
    channels = encoder.out_channels
    values, basis = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
    # Variance v becomes the root of v, and the mean variance over channels becomes one.
    gain = values.pow(-0.25) / values.sqrt().mean().sqrt()
    encode, decode = (basis * gain).T, basis / gain
    encoder.weight.copy_(encode.reshape(encoder.weight.shape))
    encoder.bias.copy_(-encode @ mean)
    decoder.weight.copy_(decode.reshape(decoder.weight.shape))
    decoder.bias.copy_(mean)


def load_codec(pack, data: Dataset, cache: Path) -> torch.nn.Module:
    """The codec; its linear maps are fitted once and kept, because everything trained later depends on them."""
    codec = pack.vae.PatchCodec(**CODEC)
    store = cache / "codec.pt"
    if not store.exists():
        training.initialise(codec)
        torch.nn.init.zeros_(codec.fine_out.weight)
        fit_codec(codec, to_pixels(data.pictures), torch.from_numpy(data.weights))
        torch.save(codec.state_dict(), store)
    codec.load_state_dict(torch.load(store, weights_only=True))
    return codec


def train_codec(pack, data: Dataset, args) -> None:
    """Trains the detail network, and says how good the codec is over all pictures."""
    pixels, weights = to_pixels(data.pictures), torch.from_numpy(data.weights)
    codec = load_codec(pack, data, args.cache).to(args.device)

    def draw() -> torch.Tensor:
        return pixels[torch.multinomial(weights, 16, replacement=True)]

    train_detail(codec, draw, _noised, lambda: psnr(codec, pixels[::40]), 200, args.cache / "codec.pt", args)
    print(f"PSNR of the codec over all pictures: {psnr(codec, pixels):.2f} dB")


def train_detail(
    codec: torch.nn.Module, draw: Callable[[], torch.Tensor],
    noised: Callable[[torch.nn.Module, torch.Tensor], torch.Tensor], score: Callable[[], float], every: int,
    store: Path, args,
) -> None:  # fmt: skip
    """Trains all but the linear maps on slightly noised latents, so that sampled latents decode cleanly too.

    `draw` gives targets and `noised` their latents with noise; `score`, in dB, is said at every so many steps.
    """
    trained = [param for name, param in codec.named_parameters() if not name.startswith("to_")]
    optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.99))
    began, step = time.monotonic(), 0
    while (progress := (time.monotonic() - began) / 60 / args.minutes) < 1.0:
        optimizer.param_groups[0]["lr"] = training.learning_rate(progress, step, CODEC_RATE)
        target = draw().to(args.device)
        loss = (codec.decode(noised(codec, target)) - target).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        if step % every == 0:
            print(f"{step} steps, loss {loss.item():.4f}, PSNR {score():.2f} dB", flush=True)
    torch.save(codec.cpu().state_dict(), store.with_suffix(".part"))
    store.with_suffix(".part").replace(store)


@torch.no_grad()
def _noised(codec: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    latents = codec.encode(pixels)
    strength = CODEC_NOISE * torch.rand(len(latents), 1, 1, 1, device=latents.device)
    # Sampled latents are also off by a little over the whole picture, which shows as a grid on white.
    return latents + strength * (torch.randn_like(latents) + 0.5 * torch.randn_like(latents[:, :, :1, :1]))


@torch.no_grad()
def psnr(codec: torch.nn.Module, pixels: torch.Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio of encoding and decoding, in dB."""
    scores = []
    for batch in pixels.split(100):
        batch = batch.to(codec.to_latent.weight.device)
        error = (codec.decode(codec.encode(batch)).clamp(-1, 1) - batch) / 2
        scores.append(-10 * error.square().mean(dim=(1, 2, 3)).log10())
    return torch.cat(scores).mean().item()
