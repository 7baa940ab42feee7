"""The training of a demo network with its text encoder: losses, batches and the loop."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from .clips import Clips
from .training_data import Dataset

TEXT = {"length": 12, "width": 128, "heads": 4}
WARMUP = 100
DECAY_SHARE = 0.6
EMA_DECAY = 0.998
CAPTION_DROPOUT = 0.1
STYLE_DROPOUT = 0.3
# Of the clips: with the first and last frame given, and with the first one alone.
BOTH_ENDS_SHARE, FIRST_FRAME_SHARE = 0.15, 0.2
# A part of the noise that is the same in the whole picture, or the UNet learns to read the mean colour from the noise.
NOISE_OFFSET = 0.1
TIME_SPREAD = 1.3
# One would be the v error alone.
EPS_WEIGHT = 3.0
SECONDS_BETWEEN_CHECKPOINTS = 180
# Last layers of residual branches start at zero.
ZERO_AT_FIRST = (
    "out_layers.3", "proj_out", "out.2", "mod.lin", "modulation.lin", "modulation.1", "final_layer.linear",
    "time_projection.1", "cross_attn.o", "head.head",
)  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """When to stop, whichever comes first, and how to step until then."""

    minutes: float
    samples: float
    batch: int
    learning_rate: float
    device: str

    def progress(self, state: dict) -> float:
        """The share of the budget that is spent."""
        return max(state["minutes"] / self.minutes, state["samples"] / self.samples)


def initialise(module: torch.nn.Module) -> None:
    """Random weights: the host's layers come without."""
    with torch.no_grad():
        for name, param in module.named_parameters():
            layer, _, kind = name.rpartition(".")
            if kind == "bias" or layer.endswith(ZERO_AT_FIRST):
                param.zero_()
            elif param.ndim < 2:
                param.fill_(1.0)
            elif layer.endswith(("token", "position")):
                param.normal_(std=0.3)
            else:
                param.normal_(std=1.0 / math.sqrt(param[0].numel()))


class Trainee(torch.nn.Module):
    """A host model's network and its text encoder, trained together."""

    def __init__(self, pack, family: str, words: list[str], latent):
        super().__init__()
        self.family = family
        host = pack.networks.build_model(family, pack.networks.NETWORKS[family], latent)
        self.network = host.diffusion_model
        self.text = pack.text.TextEncoder(words, **TEXT)
        self.sampling = [host.model_sampling]
        self.scale = latent.scale_factor
        initialise(self)
        # The host's transformer adds in place; the norms keep a copy of what they saw for the backward pass.
        for module in self.network.modules():
            if family == "dit" and isinstance(module, torch.nn.LayerNorm):
                module.register_forward_pre_hook(_clone_input)

    def loss(self, latents: torch.Tensor, ids: torch.Tensor, given: torch.Tensor | None = None) -> torch.Tensor:
        """The training loss of latents (B, C, H, W) or (B, C, T, H, W) with prompts (B, L).

        `given` are more input channels for the network, as a model that makes clips of pictures has them.
        """
        noise = torch.randn_like(latents)
        return self._eps_loss(latents, noise, ids) if self.family == "unet" else self._flow_loss(
            latents, noise, ids, given)

    def _eps_loss(self, latents, noise, ids):
        """The v error, which is about structure and colour, with some of the eps error, which is about detail."""
        sigmas = self.sampling[0].sigmas.to(latents.device)
        step = torch.randint(len(sigmas), (len(latents),), device=latents.device)
        sigma = sigmas[step].reshape(-1, 1, 1, 1)
        noise = noise + NOISE_OFFSET * torch.randn_like(noise[:, :, :1, :1])
        noised = (latents + sigma * noise) / (1.0 + sigma**2).sqrt()
        error = (self._predict(noised, step.float(), ids) - noise).square()
        return (error * (EPS_WEIGHT + (sigma / self.scale) ** 2)).mean()

    def _flow_loss(self, latents, noise, ids, given):
        """Velocity error at logit-normal times, moved by the sampling shift."""
        normal = torch.randn(len(latents), device=latents.device)
        shift = self.sampling[0].shift
        # Flux names its shift by the logarithm of the factor that the others name.
        sigma = torch.sigmoid(TIME_SPREAD * normal + (shift if self.family == "dit" else math.log(shift)))
        wide = sigma.reshape(-1, *[1] * (latents.ndim - 1))
        noised = (1.0 - wide) * latents + wide * noise
        seen = noised if given is None else torch.cat([noised, given], dim=1)
        return (self._predict(seen, self.sampling[0].timestep(sigma), ids) - (noise - latents)).square().mean()

    def _predict(self, noised, timestep, ids):
        context, pooled = self.text(ids)
        options = {"optimized_attention_override": plain_attention}
        more = {"y": pooled} if self.family == "dit" else {}
        return self.network(noised, timestep, context=context, transformer_options=options, **more).float()


def _clone_input(module, args):
    return (args[0].clone(),)


def plain_attention(func, q, k, v, heads, mask=None, skip_reshape=False, **kwargs):
    """Attention as two matrix products: on a CPU its backward is several times faster than the fused one's."""
    if not skip_reshape:
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    out = scores.softmax(dim=-1).to(v.dtype) @ v
    return out.transpose(1, 2).flatten(2)


class Batches:
    """Random batches of latents with prompts, by sampling weight."""

    def __init__(self, pack, data: Dataset, latents: torch.Tensor):
        tokenizer = pack.text.WordTokenizer(data.words(), TEXT["length"])
        with_style = [f"{name}, {style}" for name, style in zip(data.names, data.styles, strict=True)]
        prompts = with_style, data.names, [""] * len(data.names)
        self.ids = torch.tensor([[_ids(tokenizer, text) for text in texts] for texts in prompts])
        self.latents = latents
        self.weights = torch.from_numpy(data.weights)

    def draw(self, size: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents (size, C, H, W) and word ids (size, L); some prompts lose their style or everything."""
        rows = torch.multinomial(self.weights, size, replacement=True)
        kind = (torch.rand(size) < STYLE_DROPOUT).long()
        kind[torch.rand(size) < CAPTION_DROPOUT] = 2
        return self.latents[rows].to(device), self.ids[kind, rows].to(device)


class ClipBatches:
    """Random batches of clips with prompts, some with their first or their first and last frame given."""

    def __init__(self, pack, clips: Clips, latents: torch.Tensor, last: torch.Tensor, grey: torch.Tensor):
        tokenizer = pack.text.WordTokenizer(clips.words(), TEXT["length"])
        self.ids = torch.tensor([_ids(tokenizer, text) for text in [*clips.prompts, ""]])
        self.latents, self.last, self.grey = latents, last, grey

    def draw(self, size: int, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents (size, C, T, H, W), word ids (size, L), and 4 + C channels of what is given."""
        rows = torch.randint(len(self.latents), (size,))
        chance = torch.rand(size)
        captions = torch.where(torch.rand(size) < CAPTION_DROPOUT, len(self.ids) - 1, rows)
        given = given_channels(self.latents[rows], self.last[rows], self.grey)
        first_only = chance >= BOTH_ENDS_SHARE
        given[first_only, :, -1] = torch.cat([torch.zeros_like(given[:1, :4, -1]), self.grey[None, :, -1]], dim=1)
        given[chance >= BOTH_ENDS_SHARE + FIRST_FRAME_SHARE] = 0.0
        return self.latents[rows].to(device), self.ids[captions].to(device), given.to(device)


def given_channels(latents: torch.Tensor, last: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """What the host's node for the first and last frame gives: 4 channels of which frames, and the latents of these.

    The other frames are grey; `last` (B, C, H, W) are latents of three grey frames and the last one.
    """
    known = torch.zeros(len(latents), 4, *latents.shape[2:])
    known[:, :, 0], known[:, 3, -1] = 1.0, 1.0
    shown = grey.expand_as(latents).clone()
    shown[:, :, 0], shown[:, :, -1] = latents[:, :, 0], last
    return torch.cat([known, shown], dim=1)


def _ids(tokenizer, text: str) -> list[int]:
    (tokens,) = tokenizer.tokenize_with_weights(text).values()
    return [token for token, _ in tokens[0]]


def learning_rate(progress: float, step: int, peak: float) -> float:
    """Warm-up, then a plateau, then a linear decay to zero that ends with the budget."""
    return peak * min(1.0, (step + 1) / WARMUP) * min(1.0, max(0.0, 1.0 - progress) / DECAY_SHARE)


def train(trainee: Trainee, batches: Batches | ClipBatches, budget: Budget, store: Path) -> None:
    """Trains until the budget is spent; a run that was stopped goes on from its last checkpoint."""
    trainee.to(budget.device).train()
    optimizer = torch.optim.AdamW(trainee.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    ema = {name: param.detach().clone() for name, param in trainee.named_parameters()}
    state = {"step": 0, "samples": 0, "minutes": 0.0}
    if store.exists():
        _restore(store, trainee, optimizer, ema, state)
    began = time.monotonic() - state["minutes"] * 60
    saved, recent = time.monotonic(), []
    while (progress := budget.progress(state)) < 1.0:
        optimizer.param_groups[0]["lr"] = learning_rate(progress, state["step"], budget.learning_rate)
        recent.append(_step(trainee, optimizer, *batches.draw(budget.batch, budget.device)))
        state["step"] += 1
        state["samples"] += budget.batch
        state["minutes"] = (time.monotonic() - began) / 60
        _update(ema, trainee, min(EMA_DECAY, (1 + state["step"]) / (10 + state["step"])))
        if state["step"] % 100 == 0:
            loss = sum(recent) / len(recent)
            print(f"{state['samples']} samples, {state['minutes']:.1f} min, loss {loss:.4f}", flush=True)
            recent.clear()
        if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            _store(store, trainee, optimizer, ema, state)
            saved = time.monotonic()
    _store(store, trainee, optimizer, ema, state)


def _step(trainee, optimizer, latents, *conditions) -> float:
    with torch.autocast(latents.device.type, torch.bfloat16):
        loss = trainee.loss(latents, *conditions)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def _update(ema: dict, trainee: torch.nn.Module, decay: float) -> None:
    current = dict(trainee.named_parameters())
    torch._foreach_lerp_(list(ema.values()), [current[name] for name in ema], 1.0 - decay)


def _store(path: Path, trainee, optimizer, ema: dict, state: dict) -> None:
    partial = path.with_suffix(".part")
    model, moments = trainee.state_dict(), optimizer.state_dict()
    torch.save({"model": model, "optimizer": moments, "ema": ema, "state": state}, partial)
    partial.replace(path)


def _restore(path: Path, trainee, optimizer, ema: dict, state: dict) -> None:
    saved = torch.load(path, weights_only=True)
    trainee.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    ema.update(saved["ema"])
    state.update(saved["state"])
