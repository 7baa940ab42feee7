"""Word tokenizer and text encoder, as parts of the host's own CLIP object."""

import re
from functools import partial

import comfy.model_management
import comfy.ops
import comfy.sd
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.sd1_clip import escape_important, token_weights, unescape_important
from comfy.supported_models_base import ClipTarget

PAD, START, UNKNOWN = range(3)
SPECIAL = 3
KEY = "words"


class WordTokenizer:
    """Turns a prompt into a fixed number of (word id, weight) pairs."""

    def __init__(self, words: list[str], length: int, embedding_directory=None, tokenizer_data=None):
        self.ids = {word: SPECIAL + index for index, word in enumerate(words)}
        self.words = words
        self.length = length

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs) -> dict[str, list]:
        """One batch of `length` tokens; words past the end are cut off."""
        tokens = [(START, 1.0)]
        for part, weight in token_weights(escape_important(text), 1.0):
            words = re.findall(r"[a-z0-9]+", unescape_important(part).lower())
            tokens += [(self.ids.get(word, UNKNOWN), weight) for word in words]
        tokens = (tokens + [(PAD, 1.0)] * self.length)[: self.length]
        if return_word_ids:
            tokens = [(token, weight, index) for index, (token, weight) in enumerate(tokens)]
        return {KEY: [tokens]}

    def untokenize(self, pairs: list) -> list:
        """Each token with the word it stands for."""
        names = ["", "", "?", *self.words]
        return [(pair, names[pair[0]]) for pair in pairs]

    def state_dict(self) -> dict:
        return {}


class TextEncoder(torch.nn.Module):
    """Word and position embeddings and one transformer layer."""

    # Too small to be worth streaming from memory: newer hosts then keep it on one device.
    disable_offload = True

    def __init__(
        self, words: list[str], length: int, width: int, heads: int, dtype=None, device=None, model_options=None
    ):
        super().__init__()
        ops = comfy.ops.manual_cast
        self.heads = heads
        self.dtypes = {dtype or torch.float32}
        self.options = {}
        self.token = ops.Embedding(SPECIAL + len(words), width, dtype=dtype, device=device)
        self.position = ops.Embedding(length, width, dtype=dtype, device=device)
        self.norm1 = ops.LayerNorm(width, dtype=dtype, device=device)
        self.qkv = ops.Linear(width, 3 * width, dtype=dtype, device=device)
        self.proj = ops.Linear(width, width, dtype=dtype, device=device)
        self.norm2 = ops.LayerNorm(width, dtype=dtype, device=device)
        self.mlp_in = ops.Linear(width, 2 * width, dtype=dtype, device=device)
        self.mlp_out = ops.Linear(2 * width, width, dtype=dtype, device=device)
        self.norm_out = ops.LayerNorm(width, dtype=dtype, device=device)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encodes word ids (B, L) to a context (B, L, width) and its mean over real tokens (B, width)."""
        x = self.token(ids, out_dtype=torch.float32)
        x = x + self.position(torch.arange(ids.shape[1], device=ids.device), out_dtype=torch.float32)
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.proj(optimized_attention(q, k, v, self.heads))
        x = x + self.mlp_out(torch.nn.functional.silu(self.mlp_in(self.norm2(x))))
        x = self.norm_out(x)
        real = (ids != PAD).unsqueeze(-1).to(x.dtype)
        return x, (x * real).sum(dim=1) / real.sum(dim=1)

    def encode_token_weights(self, tokens: dict[str, list]) -> tuple[torch.Tensor, torch.Tensor]:
        """The host's entry: context and pooled output.

        A weight w moves a token w times as far from where the empty prompt has it.
        """
        device = self.options.get("execution_device") or self.token.weight.device
        ids = torch.tensor([[pair[0] for pair in row] for row in tokens[KEY]], device=device)
        weights = torch.tensor([[pair[1] for pair in row] for row in tokens[KEY]], device=device).unsqueeze(-1)
        context, pooled = self(ids)
        if (weights != 1.0).any():
            empty = torch.full_like(ids[:1], PAD)
            empty[:, 0] = START
            base = self(empty)[0]
            context = base + (context - base) * weights
        out = comfy.model_management.intermediate_device()
        return context.to(out), pooled.to(out)

    def set_clip_options(self, options: dict) -> None:
        self.options.update(options)

    def reset_clip_options(self) -> None:
        self.options = {}

    def load_sd(self, sd: dict):
        return self.load_state_dict(sd, strict=False)


def build_clip(config: dict, tensors: dict) -> comfy.sd.CLIP:
    """The host's CLIP around the word tokenizer and the text encoder."""

    def encoder(**kwargs) -> TextEncoder:
        built = TextEncoder(**config, **kwargs)
        built.load_state_dict(tensors)
        return built.train(False).requires_grad_(False)

    tokenizer = partial(WordTokenizer, config["words"], config["length"])
    return comfy.sd.CLIP(ClipTarget(tokenizer, encoder), model_options={"dtype": torch.float32})
