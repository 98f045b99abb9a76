"""AWQ of a whole model with llm-compressor: a search of 20 scales for every norm and what follows it, then rounding to nearest.
Arguments: see llm_compressor.py."""

from llm_compressor import run
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQMapping, AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache

# 0.14 pins memory for a GPU whether or not there is one; without one that fails, and there is nothing to gain.
IntermediatesCache.pin_memory = lambda self, *args, **kwargs: None

# It knows the layers of Llama by itself, those of OPT it is told.
opt = [
    AWQMapping("re:.*self_attn_layer_norm$", ["re:.*q_proj$", "re:.*k_proj$", "re:.*v_proj$"]),
    AWQMapping("re:.*v_proj$", ["re:.*out_proj$"]),
    AWQMapping(r"re:.*layers\.\d+\.final_layer_norm$", ["re:.*fc1$"]),
    AWQMapping("re:.*fc1$", ["re:.*fc2$"]),
]


def recipe(model, groups):
    return [
        AWQModifier(n_grid=20, mappings=opt if model.config.model_type == "opt" else None),
        QuantizationModifier(config_groups=groups, ignore=["lm_head"]),
    ]


run(recipe)
