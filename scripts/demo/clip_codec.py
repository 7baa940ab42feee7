"""The codec of the video model between clips and latents: fitted to the clips' blocks, then trained."""

from pathlib import Path

import torch

from . import training
from .clips import Clips, render
from .codec import CODEC_NOISE, set_components, train_detail

CLIP_CODEC = {"channels": 16, "width": 48}
# The components are of every so many clips.
FIT_STRIDE = 5
FIT_NOISE = 0.1
BATCH = 16
TRAINING_BATCH = 4


def load_clip_codec(pack, clips: Clips, cache: Path) -> torch.nn.Module:
    """The codec; its linear maps are fitted once and kept, because everything trained later depends on them."""
    codec = pack.clip_vae.ClipCodec(**CLIP_CODEC)
    store = cache / "clip_codec.pt"
    if not store.exists():
        training.initialise(codec)
        torch.nn.init.zeros_(codec.fine_out.weight)
        shown = [pack.clip_vae.blocks_of(render(clips, [row])) for row in range(0, len(clips.prompts), FIT_STRIDE)]
        blocks = torch.cat(shown)
        rows = _rows(blocks)
        alone = torch.nn.Conv3d(codec.to_latent.out_channels, rows.shape[1], 1)
        set_components(codec.to_latent, alone, rows, torch.full((len(rows), 1), 1.0 / len(rows)).double())
        _fit_decoder(pack, codec, blocks)
        torch.save(codec.state_dict(), store)
    codec.load_state_dict(torch.load(store, weights_only=True))
    return codec


@torch.no_grad()
def _fit_decoder(pack, codec: torch.nn.Module, blocks: torch.Tensor) -> None:
    """Sets the linear decoder to the least squares of blocks (B, V, T, H, W) by noised latents and their neighbours."""
    reach = pack.clip_vae.REACH
    squares = products = 0.0
    for part in blocks.split(BATCH):
        latents = pack.clip_vae.with_edges(codec.to_latent(part))
        for axis in (2, 3, 4):
            latents = latents.unfold(axis, reach, 1)
        seen = _rows(latents.permute(0, 1, 5, 6, 7, 2, 3, 4).flatten(1, 4))
        seen = torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1)
        squares, products = squares + seen.T @ seen, products + seen.T @ _rows(part)
    count = blocks[:, 0].numel()
    noise = torch.full((len(squares),), FIT_NOISE**2 * count).double()
    noise[-1] = 0.0
    found = torch.linalg.solve(squares + noise.diag(), products)
    codec.to_block.weight.copy_(found[:-1].T.reshape(codec.to_block.weight.shape))
    codec.to_block.bias.copy_(found[-1])


def _rows(values: torch.Tensor) -> torch.Tensor:
    """Values (B, V, T, H, W) as rows (N, V) of double precision."""
    return values.permute(0, 2, 3, 4, 1).flatten(0, 3).double()


@torch.no_grad()
def clip_latents(codec: torch.nn.Module, clips: Clips) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents (N, C, T, H, W) of all clips, those (N, C, H, W) of their last frames after grey, and of grey alone."""
    latents, last = [], []
    for rows in torch.arange(len(clips.prompts)).split(BATCH):
        shown = render(clips, rows.tolist())
        latents.append(codec.encode(shown))
        shown[:, :, :-1] = 0.0
        last.append(codec.encode(shown)[:, :, -1])
    return torch.cat(latents), torch.cat(last), codec.encode(torch.zeros_like(shown[:1]))[0]


def train_clip_codec(pack, clips: Clips, args) -> None:
    """Trains the detail network."""
    codec = load_clip_codec(pack, clips, args.cache).to(args.device)

    def draw() -> torch.Tensor:
        return render(clips, torch.randint(len(clips.prompts), (TRAINING_BATCH,)).tolist())

    train_detail(codec, draw, _noised, lambda: clip_psnr(codec, clips), 50, args.cache / "clip_codec.pt", args)


@torch.no_grad()
def _noised(codec: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    latents = codec.encode(pixels)
    strength = CODEC_NOISE * torch.rand(len(latents), 1, 1, 1, 1, device=latents.device)
    return latents + strength * torch.randn_like(latents)


@torch.no_grad()
def clip_psnr(codec: torch.nn.Module, clips: Clips, stride: int = 97) -> float:
    """Mean over every so many clips of the peak signal-to-noise ratio of encoding and decoding, in dB."""
    scores = []
    for row in range(0, len(clips.prompts), stride):
        shown = render(clips, [row]).to(codec.to_latent.weight.device)
        error = (codec.decode(codec.encode(shown)).clamp(-1, 1) - shown) / 2
        scores.append(-10 * error.square().mean().log10())
    return torch.stack(scores).mean().item()
