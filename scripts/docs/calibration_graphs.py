"""The shared workflows of the calibration nodes as data."""

from __future__ import annotations

from .workflow_graphs import PICTURE, SAMPLER, SDXL_LINKS, SDXL_NODES, Graph, Node, note, sampler_links, text

CALIBRATE = Graph(
    {
        **SDXL_NODES,
        "prompt": text("a lighthouse on a cliff at sunset, detailed oil painting", (400, 60), "Prompt 1"),
        "negative": text("blurry, text, watermark", (400, 600), "Negative prompt"),
        "size": Node("EmptyLatentImage", (400, 780), PICTURE),
        "prompt_2": text("portrait photo of an old fisherman, window light, 85mm", (400, 240), "Prompt 2"),
        "prompt_3": text("isometric illustration of a small harbour town, flat colours", (400, 420), "Prompt 3"),
        "calibrate": Node(
            "FRDiffAutoFR", (820, 60), {
                **{key: value for key, value in SAMPLER.items() if key != "control_after_generate"},
                "effort": "normal", "name": "auto", "speedup": 2.0, "by": "error: close",
            }, size=(400, 760),
        ),
        "sampler": Node("FRDiffKSampler", (1270, 60), {**SAMPLER, "seed": 2}, size=(340, 430)),
        "decode": Node("VAEDecode", (1270, 560)),
        "save": Node("SaveImage", (1660, 60), {"filename_prefix": "FRDiff"}, size=(340, 330)),
        "note": note(
            "**FRDiff Auto-FR** runs your model with your settings, plain and at several speeds, and measures how near "
            "each speed is to the plain picture. It is needed once for a model, a sampler and a number of steps.\n\n"
            "- Put in prompts, size, steps and sampler as you use them. More prompts make it surer: connect `clip` and "
            "write them into `prompts`, one a line.\n"
            "- `by` chooses: *speed*, or as fast as pictures stay so near.\n"
            "- The file is in `models/frdiff`, named by the model and the settings. **FRDiff Schedule Loader** finds "
            "it by itself: see the workflow *FRDiff Auto-FR load*.\n"
            "- Cancel whenever you like: the same again goes on from there.",
            (40, 340), (320, 400),
        ),
    },
    (
        *SDXL_LINKS, *sampler_links("calibrate"), *sampler_links("sampler"), "checkpoint.CLIP -> prompt_2.clip",
        "checkpoint.VAE -> calibrate.vae", "checkpoint.CLIP -> calibrate.clip",
        "checkpoint.CLIP -> prompt_3.clip", "prompt_2.CONDITIONING -> calibrate.positive_2",
        "prompt_3.CONDITIONING -> calibrate.positive_3", "calibrate.schedule -> sampler.schedule",
        "sampler.LATENT -> decode.samples", "checkpoint.VAE -> decode.vae", "decode.IMAGE -> save.images",
    ),
)  # fmt: skip

LOAD = Graph(
    {
        **SDXL_NODES,
        "loader": Node(
            "FRDiffScheduleLoader", (400, 580), {"file": "auto", "speedup": 2.0, "by": "error: close"}, size=(360, 340)
        ),
        "sampler": Node("FRDiffKSampler", (820, 60), SAMPLER, size=(340, 430)),
        "decode": Node("VAEDecode", (1210, 60)),
        "save": Node("SaveImage", (1210, 160), {"filename_prefix": "FRDiff"}, size=(340, 330)),
        "report": Node("FRDiffReport", (1590, 60), size=(340, 240)),
        "note": note(
            "**FRDiff Schedule Loader** loads what *FRDiff Auto-FR calibrate* has measured.\n\n"
            "- `auto` finds the newest file that fits the model and the sampler; where there is none, the dial is used "
            "as it is.\n"
            "- `by` chooses: *speed* takes the dial, *error* goes as fast as pictures stay so near to the plain ones. "
            "The node says what that means here.\n"
            "- The same file serves LoRAs and fine-tunes of the model; the report says how far a run is from the "
            "calibrated one.",
            (40, 340), (320, 320),
        ),
    },
    (
        *SDXL_LINKS, *sampler_links("sampler"), "checkpoint.MODEL -> loader.model",
        "loader.schedule -> sampler.schedule", "sampler.LATENT -> decode.samples", "checkpoint.VAE -> decode.vae",
        "decode.IMAGE -> save.images",
        "sampler.report -> report.report",
    ),
)  # fmt: skip

CALIBRATION_WORKFLOWS = {"FRDiff Auto-FR calibrate": CALIBRATE, "FRDiff Auto-FR load": LOAD}
