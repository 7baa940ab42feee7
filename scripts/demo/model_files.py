"""The files of the demo models: training a network with its text encoder, writing the file, sampling from it."""

import json
import sys
import types
from pathlib import Path

import comfy.cli_args
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from setup import PACKS

from . import training
from .clip_codec import CLIP_CODEC, clip_latents, load_clip_codec, train_clip_codec
from .clips import clips_of
from .codec import CODEC, load_codec, train_codec
from .model import CLIP_PROMPTS, PROMPTS
from .training_data import Dataset, load, to_pixels

PACK = PACKS["frdiff-demo-models"]
PACK_NAME = "frdiff_demo_models"
EMPTY_LATENTS = {"unet": (1, 4, 16, 16), "dit": (1, 4, 16, 16), "video": (1, 16, 5, 10, 10)}


def do(args) -> None:
    """One command of model.py."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    pack = import_pack(args.device)
    if args.command == "grid":
        return grid(pack, args)
    data = load(args.cache)
    {"train": train, "codec": train_any_codec, "export": export}[args.command](pack, data, args)


def import_pack(device: str) -> types.SimpleNamespace:
    """The companion pack's modules, with ComfyUI set to the device."""
    comfy.cli_args.args.cpu = device == "cpu"
    package = types.ModuleType(PACK_NAME)
    package.__path__ = [str(PACK)]
    sys.modules[PACK_NAME] = package
    from frdiff_demo_models import clip_vae, loader, networks, text, vae

    return types.SimpleNamespace(clip_vae=clip_vae, loader=loader, networks=networks, text=text, vae=vae)


def train(pack, data: Dataset, args) -> None:
    """Trains one network with its text encoder."""
    trainee, batches = (clip_training if args.family == "video" else picture_training)(pack, data, args)
    budget = training.Budget(args.minutes, args.samples, args.batch, args.lr, args.device)
    training.train(trainee, batches, budget, checkpoint(args))
    if not args.tag:
        export(pack, data, args)


def train_any_codec(pack, data: Dataset, args) -> None:
    """Trains the codec of a family."""
    if args.family == "video":
        return train_clip_codec(pack, clips_of(data), args)
    return train_codec(pack, data, args)


def picture_training(pack, data: Dataset, args) -> tuple[training.Trainee, training.Batches]:
    """A network for pictures and what it learns."""
    codec = load_codec(pack, data, args.cache)
    latent_format = pack.networks.latent_format(args.family, *codec.rgb_factors())
    with torch.no_grad():
        latents = latent_format.process_in(codec.encode(to_pixels(data.pictures)))
    if args.only:
        data = favoured_only(data, args.only)
    return training.Trainee(pack, args.family, data.words(), latent_format), training.Batches(pack, data, latents)


def clip_training(pack, data: Dataset, args) -> tuple[training.Trainee, training.ClipBatches]:
    """The network for clips and what it learns; `only` is a number of names."""
    clips = clips_of(data, args.only)
    codec = load_clip_codec(pack, clips, args.cache)
    latent_format = pack.networks.latent_format(args.family, *codec.rgb_factors())
    batches = training.ClipBatches(pack, clips, *clip_latents(codec, clips))
    return training.Trainee(pack, args.family, clips.words(), latent_format), batches


def favoured_only(data: Dataset, count: int) -> Dataset:
    """The same pictures, but only the test prompts and some favoured names are drawn."""
    rank = [-weight - 10 * (name in PROMPTS) for name, weight in zip(data.names, data.weights, strict=True)]
    weights = np.zeros_like(data.weights)
    weights[np.argsort(rank, kind="stable")[:count]] = 1.0
    return Dataset(data.pictures, data.names, data.styles, weights)


def checkpoint(args) -> Path:
    return args.cache / f"{args.family}{args.tag}.pt"


def model_file(args) -> Path:
    return args.file or PACK / "models" / f"demo_{args.family}.safetensors"


def export(pack, data: Dataset, args) -> None:
    """Writes the averaged weights, the text encoder and the codec as one fp16 safetensors file."""
    saved = torch.load(checkpoint(args), weights_only=True)
    if args.family == "video":
        learnt, vae = clips_of(data), CLIP_CODEC
        codec = load_clip_codec(pack, learnt, args.cache)
    else:
        learnt, vae, codec = data, CODEC, load_codec(pack, data, args.cache)
    tensors = saved["ema"] | {f"vae.{name}": tensor for name, tensor in codec.state_dict().items()}
    config = {
        "family": args.family,
        "network": pack.networks.NETWORKS[args.family],
        "text": {"words": learnt.words(), **training.TEXT},
        "vae": vae,
        "training": saved["state"],
    }
    target = model_file(args)
    tensors = {name: tensor.cpu().half().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, target.with_suffix(".part"), metadata={"config": json.dumps(config)})
    target.with_suffix(".part").replace(target)
    print(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB, {config['training']}")


def grid(pack, args) -> None:
    """Samples the prompts through the host's KSampler; a row for each seed, and for clips one for each prompt."""
    loaded = pack.loader.load_demo_model(model_file(args))
    seeds = range(args.seed, args.seed + args.rows)
    if args.family == "video":
        prompts = args.prompts or CLIP_PROMPTS
        rows = [torch.cat([*sample(loaded, prompt, seed, args)[::4]], dim=1) for prompt in prompts for seed in seeds]
    else:
        prompts = args.prompts or PROMPTS
        rows = [torch.cat([sample(loaded, prompt, seed, args)[0] for prompt in prompts], dim=1) for seed in seeds]
    Image.fromarray((torch.cat(rows) * 255).round().byte().numpy()).save(args.sheet)


@torch.no_grad()
def sample(loaded, prompt: str, seed: int, args) -> torch.Tensor:
    """One picture (1, H, W, 3) or clip (F, H, W, 3) in 0..1, of the size that the model learned."""
    import comfy.sample

    conditions = [loaded.clip.encode_from_tokens_scheduled(loaded.clip.tokenize(text)) for text in (prompt, "")]
    latent = comfy.sample.fix_empty_latent_channels(loaded.model, torch.zeros(EMPTY_LATENTS[args.family]))
    noise = comfy.sample.prepare_noise(latent, seed)
    settings = (args.steps, args.cfg, "euler", args.scheduler)
    done = comfy.sample.sample(loaded.model, noise, *settings, *conditions, latent, disable_pbar=True, seed=seed)
    return loaded.vae.decode(done).flatten(0, -4).cpu()
