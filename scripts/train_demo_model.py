"""Trains the two small demo models of FRDiff inside ComfyUI's own model classes.

    python scripts/train_demo_model.py train unet --minutes 60
    python scripts/train_demo_model.py codec --minutes 10
    python scripts/train_demo_model.py export unet
    python scripts/train_demo_model.py grid unet grid.png

The latents are fixed before training (see demo_pack/vae.py), so networks and codec can be trained in any order.
Run it with the Python environment of ComfyUI; scripts/host.py sets one up.
"""

import argparse
import json
import math
import sys
import time
import types
from pathlib import Path

import demo_data
import demo_training
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

ROOT = Path(__file__).resolve().parent.parent
PACK = ROOT / "scripts" / "demo_pack"
PACK_NAME = "frdiff_demo_models"
FAMILIES = ["unet", "dit"]
PROMPTS = ["grinning face", "red heart", "dog face", "red apple", "rocket", "cat face", "pizza", "sun with face"]
CODEC = {"channels": 16, "width": 48}
CODEC_NOISE = 0.2
CODEC_RATE = 2e-3


def import_pack(comfyui: Path, device: str) -> types.SimpleNamespace:
    """The companion pack's modules, with ComfyUI importable and set to the device."""
    if not (comfyui / "comfy").is_dir():
        raise SystemExit(f"There is no ComfyUI in {comfyui}. Set one up with scripts/host.py or pass --comfyui.")
    sys.path.insert(0, str(comfyui))
    import comfy.cli_args

    comfy.cli_args.args.cpu = device == "cpu"
    package = types.ModuleType(PACK_NAME)
    package.__path__ = [str(PACK)]
    sys.modules[PACK_NAME] = package
    from frdiff_demo_models import loader, networks, text, vae

    return types.SimpleNamespace(loader=loader, networks=networks, text=text, vae=vae)


# Codec


def to_pixels(pictures: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, 3) to float (N, 3, H, W) in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def fit_codec(codec: torch.nn.Module, pixels: torch.Tensor, weights: torch.Tensor) -> None:
    """Sets the codec's linear maps from the weighted principal components of the pictures' patches."""
    patches = functional.pixel_unshuffle(functional.avg_pool2d(pixels, 2), 4)
    patches = patches.permute(0, 2, 3, 1).reshape(-1, patches.shape[1]).double()
    share = weights.double().repeat_interleave(len(patches) // len(weights)).unsqueeze(1)
    share = share / share.sum()
    mean = (patches * share).sum(dim=0)
    values, vectors = torch.linalg.eigh((patches - mean).T @ ((patches - mean) * share))
    channels = codec.to_latent.out_channels
    values, basis = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
    # Variance v becomes the root of v, and the mean variance over channels becomes one.
    gain = values.pow(-0.25) / values.sqrt().mean().sqrt()
    encode, decode = (basis * gain).T, basis / gain
    with torch.no_grad():
        codec.to_latent.weight.copy_(encode[:, :, None, None])
        codec.to_latent.bias.copy_(-encode @ mean)
        codec.to_patch.weight.copy_(decode[:, :, None, None])
        codec.to_patch.bias.copy_(mean)


def load_codec(pack, data: demo_data.Dataset, cache: Path) -> torch.nn.Module:
    """The codec; its linear maps are fitted once and kept, because everything trained later depends on them."""
    codec = pack.vae.PatchCodec(**CODEC)
    store = cache / "codec.pt"
    if not store.exists():
        demo_training.initialise(codec)
        torch.nn.init.zeros_(codec.fine_out.weight)
        fit_codec(codec, to_pixels(data.pictures), torch.from_numpy(data.weights))
        torch.save(codec.state_dict(), store)
    codec.load_state_dict(torch.load(store, weights_only=True))
    return codec


def train_codec(pack, data: demo_data.Dataset, args) -> None:
    """Trains the detail network on slightly noised latents, so that sampled latents decode cleanly too."""
    pixels, weights = to_pixels(data.pictures), torch.from_numpy(data.weights)
    codec = load_codec(pack, data, args.cache).to(args.device)
    trained = [param for name, param in codec.named_parameters() if not name.startswith("to_")]
    optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.99))
    began, step = time.monotonic(), 0
    while (progress := (time.monotonic() - began) / 60 / args.minutes) < 1.0:
        optimizer.param_groups[0]["lr"] = demo_training.learning_rate(progress, step, CODEC_RATE)
        target = pixels[torch.multinomial(weights, 16, replacement=True)].to(args.device)
        loss = (codec.decode(_noised(codec, target)) - target).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        if step % 200 == 0:
            print(f"{step} steps, loss {loss.item():.4f}, PSNR {psnr(codec, pixels[::40]):.2f} dB", flush=True)
    store = args.cache / "codec.pt"
    torch.save(codec.cpu().state_dict(), store.with_suffix(".part"))
    store.with_suffix(".part").replace(store)
    print(f"PSNR of the codec over all pictures: {psnr(codec, pixels):.2f} dB")


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


# Networks


def train(pack, data: demo_data.Dataset, args) -> None:
    """Trains one network with its text encoder."""
    codec = load_codec(pack, data, args.cache)
    latent_format = pack.networks.latent_format(args.family, *codec.rgb_factors())
    with torch.no_grad():
        latents = latent_format.process_in(codec.encode(to_pixels(data.pictures)))
    if args.only:
        data = favoured_only(data, args.only)
    trainee = demo_training.Trainee(pack, args.family, data.words(), latent_format)
    budget = demo_training.Budget(args.minutes, args.samples, args.batch, args.lr, args.device)
    batches = demo_training.Batches(pack, data, latents)
    demo_training.train(trainee, batches, budget, checkpoint(args))
    if not args.tag:
        export(pack, data, args)


def favoured_only(data: demo_data.Dataset, count: int) -> demo_data.Dataset:
    """The same pictures, but only the test prompts and some favoured names are drawn."""
    rank = [-weight - 10 * (name in PROMPTS) for name, weight in zip(data.names, data.weights, strict=True)]
    weights = np.zeros_like(data.weights)
    weights[np.argsort(rank, kind="stable")[:count]] = 1.0
    return demo_data.Dataset(data.pictures, data.names, data.styles, weights)


def checkpoint(args) -> Path:
    return args.cache / f"{args.family}{args.tag}.pt"


def model_file(args) -> Path:
    return args.file or PACK / "models" / f"demo_{args.family}.safetensors"


def export(pack, data: demo_data.Dataset, args) -> None:
    """Writes the averaged weights, the text encoder and the codec as one fp16 safetensors file."""
    saved = torch.load(checkpoint(args), weights_only=True)
    codec = load_codec(pack, data, args.cache).state_dict()
    tensors = saved["ema"] | {f"vae.{name}": tensor for name, tensor in codec.items()}
    config = {
        "family": args.family,
        "network": pack.networks.NETWORKS[args.family],
        "text": {"words": data.words(), **demo_training.TEXT},
        "vae": CODEC,
        "training": saved["state"],
    }
    target = model_file(args)
    tensors = {name: tensor.cpu().half().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, target.with_suffix(".part"), metadata={"config": json.dumps(config)})
    target.with_suffix(".part").replace(target)
    print(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB, {config['training']}")


# Sampling


def grid(pack, args) -> None:
    """Samples the prompts through the host's KSampler and writes one row for each seed."""
    loaded = pack.loader.load_demo_model(model_file(args))
    seeds = range(args.seed, args.seed + args.rows)
    rows = [torch.cat([sample(loaded, prompt, seed, args) for prompt in args.prompts], dim=1) for seed in seeds]
    Image.fromarray((torch.cat(rows) * 255).round().byte().numpy()).save(args.sheet)


@torch.no_grad()
def sample(loaded, prompt: str, seed: int, args) -> torch.Tensor:
    """One 128 x 128 picture (H, W, 3) in 0..1."""
    import comfy.sample

    conditions = [loaded.clip.encode_from_tokens_scheduled(loaded.clip.tokenize(text)) for text in (prompt, "")]
    latent = comfy.sample.fix_empty_latent_channels(loaded.model, torch.zeros(1, 4, 16, 16))
    noise = comfy.sample.prepare_noise(latent, seed)
    settings = (args.steps, args.cfg, "euler", args.scheduler)
    done = comfy.sample.sample(loaded.model, noise, *settings, *conditions, latent, disable_pbar=True, seed=seed)
    return loaded.vae.decode(done)[0].cpu()


# Command line


def parse() -> argparse.Namespace:
    """The command line; every sub-command shares the common options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--comfyui", type=Path, default=ROOT / ".host" / "ComfyUI")
    common.add_argument("--cache", type=Path, default=ROOT / ".host" / "train")
    common.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    common.add_argument("--threads", type=int, default=1)
    common.add_argument("--seed", type=int, default=0)
    network = argparse.ArgumentParser(add_help=False, parents=[common])
    network.add_argument("family", choices=FAMILIES)
    network.add_argument("--file", type=Path, help="the model file, if not the pack's")
    network.add_argument("--tag", default="", help="added to the checkpoint's name; such a training is not exported")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", parents=[network], help="train a network and its text encoder, then export")
    training.add_argument("--minutes", type=float, default=math.inf)
    training.add_argument("--samples", type=float, default=math.inf)
    training.add_argument("--batch", type=int, default=48)
    training.add_argument("--lr", type=float, default=1e-3)
    training.add_argument("--only", type=int, help="train on this many pictures only, to test the pipeline")
    codec = commands.add_parser("codec", parents=[common], help="train the codec's detail network")
    codec.add_argument("--minutes", type=float, default=10)
    commands.add_parser("export", parents=[network], help="write the file that the pack loads")
    sheet = commands.add_parser("grid", parents=[network], help="sample prompts through the host")
    sheet.add_argument("sheet", type=Path)
    sheet.add_argument("--prompts", nargs="+", default=PROMPTS)
    sheet.add_argument("--rows", type=int, default=2)
    sheet.add_argument("--steps", type=int, default=30)
    sheet.add_argument("--cfg", type=float, default=3.0)
    sheet.add_argument("--scheduler", default="simple")
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    pack = import_pack(args.comfyui, args.device)
    if args.command == "grid":
        return grid(pack, args)
    data = demo_data.load(args.cache)
    {"train": train, "codec": train_codec, "export": export}[args.command](pack, data, args)


if __name__ == "__main__":
    main()
