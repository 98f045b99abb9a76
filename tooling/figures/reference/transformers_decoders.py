"""Logits of tiny decoders, by transformers 5, for packages/models/src/testing/transformers-decoders.json.

    pip install torch transformers && python tooling/figures/reference/transformers_decoders.py > FILE

Weights as in transformers_logits.py: they follow from the tensor's name and the element's index. Of each sequence the logits after a
few tokens are kept: they depend on all tokens before. The configs take the branches that matter of each architecture.
"""

import json
import tempfile

import torch
import transformers
from safetensors.numpy import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
)

from transformers_logits import BASE, LLAMA, weight

BATCH, LENGTH, KEPT = 2, 14, (6, 13)
GEMMA = {**LLAMA, "head_dim": 6, "rms_norm_eps": 1e-6, "tie_word_embeddings": True}
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 16}
PHI = {**LLAMA, "model_type": "phi3", "pad_token_id": 0, "tie_word_embeddings": False}
NEOX = {
    **BASE,
    "model_type": "gpt_neox",
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "tie_word_embeddings": False,
}
STABLE = {**LLAMA, "model_type": "stablelm", "num_attention_heads": 2, "tie_word_embeddings": False}
OSS = {
    **LLAMA,
    "model_type": "gpt_oss",
    "head_dim": 4,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "sliding_window": 4,
    "tie_word_embeddings": False,
    "rope_parameters": {**YARN, "truncate": False, "beta_fast": 32.0, "beta_slow": 1.0},
}
VISION = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}

CASES = {
    "qwen3, explicit head size": {**LLAMA, "model_type": "qwen3", "head_dim": 6, "tie_word_embeddings": True},
    "qwen3, biases, window of 4 in the upper layer": {
        **LLAMA,
        "model_type": "qwen3",
        "head_dim": 4,
        "attention_bias": True,
        "use_sliding_window": True,
        "sliding_window": 4,
        "max_window_layers": 1,
        "tie_word_embeddings": False,
    },
    "qwen3_moe, a dense layer": {
        **LLAMA,
        "model_type": "qwen3_moe",
        "head_dim": 6,
        "moe_intermediate_size": 12,
        "num_experts": 6,
        "num_experts_per_tok": 3,
        "mlp_only_layers": [0],
        "tie_word_embeddings": False,
    },
    "qwen3_moe, weights that add up to 1, window of 4": {
        **LLAMA,
        "model_type": "qwen3_moe",
        "head_dim": 4,
        "moe_intermediate_size": 12,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
        "use_sliding_window": True,
        "sliding_window": 4,
        "tie_word_embeddings": True,
    },
    "gemma": {**GEMMA, "model_type": "gemma"},
    "gemma2, windows of 4, soft caps": {
        **GEMMA,
        "model_type": "gemma2",
        "sliding_window": 4,
        "query_pre_attn_scalar": 9,
        "attn_logit_softcapping": 1.5,
        "final_logit_softcapping": 3.0,
    },
    "gemma3_text, windows of 4 by pattern, two bases": {
        **GEMMA,
        "model_type": "gemma3_text",
        "num_hidden_layers": 3,
        "sliding_window": 4,
        "sliding_window_pattern": 3,
        "query_pre_attn_scalar": 7,
        "rope_theta": 1000.0,
        "rope_local_base_freq": 50.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "gemma3_text, parameters by type of layer": {
        **GEMMA,
        "model_type": "gemma3_text",
        "sliding_window": 5,
        "layer_types": ["full_attention", "sliding_attention"],
        "query_pre_attn_scalar": 6,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 700.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
        },
    },
    "gemma3, the text part": {
        "model_type": "gemma3",
        "mm_tokens_per_image": 1,
        "boi_token_index": 20,
        "eoi_token_index": 21,
        "image_token_index": 23,
        "text_config": {**GEMMA, "model_type": "gemma3_text", "sliding_window": 4, "query_pre_attn_scalar": 7},
        "vision_config": {**VISION, "model_type": "siglip_vision_model"},
    },
    "phi3": {**PHI, "sliding_window": 5},
    "phi3, partial rotary, LongRoPE, short": {
        **PHI,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "original_max_position_embeddings": 32,
        "partial_rotary_factor": 0.75,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1, 1.4], "long_factor": [1.5, 3.0, 9.0]},
        "tie_word_embeddings": True,
    },
    "phi3, partial rotary, LongRoPE, long": {
        **PHI,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "original_max_position_embeddings": 8,
        "partial_rotary_factor": 0.75,
        "rope_scaling": {"type": "su", "rope_type": "longrope", "original_max_position_embeddings": 8, "short_factor": [1.0, 1.1, 1.4], "long_factor": [1.5, 3.0, 9.0]},
    },
    "smollm3, layers without positions": {
        **LLAMA,
        "model_type": "smollm3",
        "num_hidden_layers": 4,
        "no_rope_layer_interval": 2,
        "tie_word_embeddings": True,
        "rope_theta": 100.0,
    },
    "smollm3, windows in layers without positions": {
        **LLAMA,
        "model_type": "smollm3",
        "no_rope_layers": [1, 0],
        "use_sliding_window": True,
        "sliding_window": 4,
        "tie_word_embeddings": False,
    },
    "ministral, windows by layer": {
        **LLAMA,
        "model_type": "ministral",
        "head_dim": 6,
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"],
        "tie_word_embeddings": False,
    },
    "ministral3, queries that grow with the position": {
        **LLAMA,
        "model_type": "ministral3",
        "head_dim": 6,
        "tie_word_embeddings": False,
        "rope_parameters": {
            "type": "yarn",
            "rope_theta": 100.0,
            "factor": 8.0,
            "original_max_position_embeddings": 4,
            "max_position_embeddings": 32,
            "beta_fast": 4.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 0.7,
            "llama_4_scaling_beta": 0.3,
        },
    },
    "mistral3, the text part": {
        "model_type": "mistral3",
        "tie_word_embeddings": False,
        "image_token_index": 23,
        "text_config": {**LLAMA, "model_type": "mistral", "head_dim": 6, "sliding_window": None, "tie_word_embeddings": False},
        "vision_config": {**VISION, "model_type": "pixtral", "head_dim": 4},
    },
    "olmo2": {**LLAMA, "model_type": "olmo2", "tie_word_embeddings": False},
    "granite, multipliers": {
        **LLAMA,
        "model_type": "granite",
        "attention_bias": True,
        "mlp_bias": True,
        "embedding_multiplier": 3.0,
        "logits_scaling": 2.0,
        "residual_multiplier": 0.4,
        "attention_multiplier": 0.3,
        "tie_word_embeddings": True,
    },
    "gpt_neox, parallel": {**NEOX, "rotary_pct": 0.5},
    "gpt_neox, one after the other, tanh gelu": {
        **NEOX,
        "rotary_pct": 1.0,
        "rotary_emb_base": 100,
        "use_parallel_residual": False,
        "hidden_act": "gelu_fast",
        "tie_word_embeddings": True,
    },
    "stablelm": {**STABLE, "partial_rotary_factor": 0.25, "use_qkv_bias": True},
    "stablelm, parallel": {
        **STABLE,
        "partial_rotary_factor": 0.5,
        "use_parallel_residual": True,
        "num_key_value_heads": 1,
    },
    "gpt_oss, sinks": OSS,
    "qwen3, a classifier": {
        **LLAMA,
        "model_type": "qwen3",
        "architectures": ["Qwen3ForSequenceClassification"],
        "head_dim": 6,
        "id2label": {"0": "a", "1": "b", "2": "c"},
        "pad_token_id": 23,
        "tie_word_embeddings": True,
    },
    "llama, yarn": {**LLAMA, "model_type": "llama", "tie_word_embeddings": False, "rope_parameters": YARN},
    "llama, dynamic": {
        **LLAMA,
        "model_type": "llama",
        "tie_word_embeddings": False,
        "max_position_embeddings": 8,
        "rope_scaling": {"rope_type": "dynamic", "factor": 2.0},
    },
}


def text_part(names: list[str]) -> list[str]:
    """A few names by which a reader finds where the language model's tensors are."""
    return sorted(n for n in names if "vision" not in n and (n.endswith("norm.weight") and ".layers." not in n))


def logits(config: dict) -> tuple[list[list[int]], list[float], list[str]]:
    made = AutoConfig.for_model(**json.loads(json.dumps(config)))
    classifies = "architectures" in config
    whole = AutoModelForImageTextToText if "text_config" in config else AutoModelForCausalLM
    whole = AutoModelForSequenceClassification if classifies else whole
    # By way of a file: experts, which transformers 5 stacks in memory, have a tensor each there.
    with tempfile.TemporaryDirectory() as folder:
        whole.from_config(made).to(torch.float32).save_pretrained(folder)
        path = f"{folder}/model.safetensors"
        tensors = {name: weight(name, x.size).reshape(x.shape) for name, x in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
        model = whole.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    vocabulary = config.get("text_config", config)["vocab_size"]
    ids = [[(7 * i * i + 3 * i + 5 * row) % (vocabulary - 4) for i in range(LENGTH)] for row in range(BATCH)]
    with torch.no_grad():
        out = model(input_ids=torch.tensor(ids), use_cache=False).logits
    out = out if classifies else out[:, list(KEPT)]
    return ids, [float(f"{x:.7g}") for x in out.flatten().tolist()], list(tensors)


if __name__ == "__main__":
    import sys

    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    cases = []
    for name, config in CASES.items():
        if len(sys.argv) > 1 and not name.startswith(sys.argv[1]):
            continue
        ids, values, names = logits(config)
        case = {"name": name, "config": config, "ids": ids, "kept": KEPT, "logits": values}
        if "text_config" in config:
            case["names"] = text_part(names)
        cases.append(case)
    print(json.dumps({"cases": cases}))
