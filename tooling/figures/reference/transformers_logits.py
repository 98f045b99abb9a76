"""Logits of tiny models of every architecture, by transformers, for packages/models/src/testing/transformers-logits.json.

    pip install torch transformers && python tooling/figures/reference/transformers_logits.py > FILE

Weights follow from the tensor's name and the element's index (`weight`), so that the file holds configs and logits only.
The configs take the branches that the shared trained models do not: windows, biases, scaled rotary positions, an explicit
head size, norms after the sums, an exact gelu.
"""

import json
import tempfile

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

BASE = {"vocab_size": 24, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
LLAMA = {
    **BASE,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
}
CASES = {
    "llama, biases, explicit head size, llama3 scaling, tied": {
        **LLAMA,
        "model_type": "llama",
        "head_dim": 6,
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
        "rope_theta": 100.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "llama, linear scaling, gelu": {
        **LLAMA,
        "model_type": "llama",
        "hidden_act": "gelu",
        "tie_word_embeddings": False,
        "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    },
    "mistral, window of 4": {**LLAMA, "model_type": "mistral", "sliding_window": 4, "tie_word_embeddings": False},
    "qwen2, window of 4 in the upper layer": {
        **LLAMA,
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 4,
        "max_window_layers": 1,
        "tie_word_embeddings": True,
    },
    "mixtral, 2 of 5 experts": {
        **LLAMA,
        "model_type": "mixtral",
        "num_local_experts": 5,
        "num_experts_per_tok": 2,
        "tie_word_embeddings": False,
    },
    "qwen2_moe, a dense layer, weights of the softmax over all": {
        **LLAMA,
        "model_type": "qwen2_moe",
        "moe_intermediate_size": 12,
        "shared_expert_intermediate_size": 28,
        "num_experts": 6,
        "num_experts_per_tok": 3,
        "mlp_only_layers": [0],
        "tie_word_embeddings": False,
    },
    "qwen2_moe, weights that add up to 1": {
        **LLAMA,
        "model_type": "qwen2_moe",
        "moe_intermediate_size": 12,
        "shared_expert_intermediate_size": 28,
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
        "tie_word_embeddings": True,
    },
    "gpt2, scale by layer, untied": {
        **BASE,
        "model_type": "gpt2",
        "n_embd": 16,
        "n_head": 2,
        "n_layer": 2,
        "n_positions": 32,
        "n_inner": 20,
        "scale_attn_by_inverse_layer_idx": True,
        "tie_word_embeddings": False,
    },
    "opt, norms after the sums, gelu": {
        **BASE,
        "model_type": "opt",
        "hidden_size": 16,
        "word_embed_proj_dim": 16,
        "ffn_dim": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "do_layer_norm_before": False,
        "activation_function": "gelu",
        "tie_word_embeddings": True,
    },
}
BATCH, LENGTH = 2, 10


def weight(name: str, count: int) -> np.ndarray:
    """Uniform in +-0.3, around 1 for the gains of norms."""
    seed = 2166136261
    for byte in name.encode():
        seed = ((seed ^ byte) * 16777619) % 2**32
    bits = (np.uint64(seed) + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B9)) & np.uint64(0xFFFFFFFF)
    bits ^= bits >> np.uint64(16)
    bits = (bits * np.uint64(0x85EBCA6B)) & np.uint64(0xFFFFFFFF)
    bits ^= bits >> np.uint64(13)
    values = (bits.astype(np.float64) / 2**32 - 0.5) * 0.6
    parts = name.split(".")
    is_gain = parts[-1] == "weight" and ("norm" in parts[-2] or parts[-2].startswith("ln_"))
    return (values + 1 if is_gain else values).astype(np.float32)


def logits(config: dict) -> tuple[list[list[int]], list[float]]:
    # By way of a file: experts, which transformers 5 stacks in memory, have a tensor each there.
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).to(torch.float32).save_pretrained(folder)
        path = f"{folder}/model.safetensors"
        tensors = {name: weight(name, x.size).reshape(x.shape) for name, x in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    ids = [[(7 * i * i + 3 * i + 5 * row) % config["vocab_size"] for i in range(LENGTH)] for row in range(BATCH)]
    with torch.no_grad():
        out = model(torch.tensor(ids), use_cache=False).logits
    return ids, [float(f"{x:.7g}") for x in out.flatten().tolist()]


if __name__ == "__main__":
    torch.manual_seed(0)
    cases = []
    for name, config in CASES.items():
        ids, values = logits(config)
        cases.append({"name": name, "config": config, "ids": ids, "logits": values})
    print(json.dumps({"cases": cases}))
