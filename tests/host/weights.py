"""What is done to the weights of a model before it samples: types, places and compilation."""

import torch
from subjects import demo_subject


def again(subject):
    """Another instance of a demo model, whose weights may be changed."""
    return demo_subject(subject.host, "unet" if hasattr(subject.network, "out") else "dit")


def in_type(dtype):
    def cast(subject):
        """The weights in another type, as half-precision files are loaded."""
        made = again(subject)
        made.network.to(dtype)
        made.network.dtype = dtype
        made.model.model.model_config.unet_config["dtype"] = dtype
        return made

    return cast


def stored_in(dtype):
    def store(subject):
        """Weights that are cast up for each layer, as on cards that compute in another type."""
        made = cast_for_each_layer(in_type(dtype)(subject))
        made.model.model.manual_cast_dtype = torch.float32
        return made

    return store


def low_memory(subject):
    """Weights stay on the processor and are brought in for each layer."""
    return cast_for_each_layer(again(subject))


def cast_for_each_layer(subject):
    for module in subject.network.modules():
        if hasattr(module, "comfy_cast_weights"):
            module.comfy_cast_weights = True
    return subject


def partly_loaded(subject):
    """Most of the weights stay where they are, and what a LoRA adds to them is added at each call of their layer."""
    from comfy.model_patcher import LowVramPatch, ModelPatcher

    class Partly(ModelPatcher):
        def partially_load(self, device_to, extra_memory=0, **named):
            room = 0.1 * self.model_size() - self.model.model_loaded_weight_memory
            loaded = super().partially_load(device_to, min(extra_memory, room), **named)
            late = [f for m in self.model.modules() for f in getattr(m, "weight_function", [])]
            assert self.model.model_lowvram and any(isinstance(function, LowVramPatch) for function in late)
            return loaded

    subject.model.__class__ = Partly
    return subject


def compiled(keys):
    def compile_model(subject):
        """The host's own compilation, at sampling time."""
        from comfy_api.torch_helpers.torch_compile import set_torch_compile_wrapper

        model = subject.model.clone()
        set_torch_compile_wrapper(model, backend="eager", keys=keys(subject))
        return subject.having(model=model)

    return compile_model


def whole(subject):
    return ["diffusion_model"]


def blocks(subject):
    unet = hasattr(subject.network, "out")
    lists = ["middle_block.1.transformer_blocks"] if unet else ["double_blocks", "single_blocks"]
    return [f"diffusion_model.{name}.{i}" for name in lists for i in range(len(subject.network.get_submodule(name)))]
