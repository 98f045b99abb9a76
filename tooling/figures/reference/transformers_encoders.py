"""Hidden states of tiny encoders and of decoders without their head, by transformers.

For packages/models/src/testing/transformers-encoders.json, and with `headless` for transformers-headless.json.

    pip install torch transformers && python tooling/figures/reference/transformers_encoders.py [headless] > FILE

Weights follow from the tensor's name and the element's index (`weight` of transformers_logits.py). Each case holds the last
hidden states of two sequences, the pooler's output where the checkpoint has a pooler, and the scores of its classifier,
of sequences or of tokens.
"""

import json
import tempfile

import torch
import transformers
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig
from transformers_logits import weight

BASE = {"vocab_size": 40, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
BERT = {
    **BASE,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "layer_norm_eps": 1e-6,
}
DISTILBERT = {**BASE, "dim": 16, "hidden_dim": 20, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 32}
MODERNBERT = {**BERT, "num_hidden_layers": 4, "cls_token_id": 0, "sep_token_id": 2, "norm_eps": 1e-5}
EMBEDDING_GEMMA = {
    **BASE,
    "model_type": "gemma3_text",
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 40,
    "rms_norm_eps": 1e-6,
    "sliding_window": 8,
    "sliding_window_pattern": 3,
    "query_pre_attn_scalar": 7,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 700.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
    },
    "use_bidirectional_attention": True,
    "tie_word_embeddings": True,
}
DECODER = {
    **BASE,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 200.0},
}
CASES = {
    "bert": ("BertModel", {**BERT, "model_type": "bert", "pad_token_id": 0}),
    "bert, three classes, relu": (
        "BertForSequenceClassification",
        {**BERT, "model_type": "bert", "pad_token_id": 0, "num_labels": 3, "hidden_act": "relu"},
    ),
    "bert, masked tokens": ("BertForMaskedLM", {**BERT, "model_type": "bert", "hidden_act": "gelu_new"}),
    "distilbert": ("DistilBertModel", {**DISTILBERT, "model_type": "distilbert"}),
    "distilbert, two classes": ("DistilBertForSequenceClassification", {**DISTILBERT, "model_type": "distilbert"}),
    "roberta": ("RobertaModel", {**BERT, "model_type": "roberta", "type_vocab_size": 1}),
    "roberta, five classes": (
        "RobertaForSequenceClassification",
        {**BERT, "model_type": "roberta", "type_vocab_size": 1, "num_labels": 5},
    ),
    "xlm-roberta, padding token 3": (
        "XLMRobertaModel",
        {**BERT, "model_type": "xlm-roberta", "type_vocab_size": 1, "pad_token_id": 3},
    ),
    "mpnet": ("MPNetModel", {**BERT, "model_type": "mpnet"}),
    "mpnet, two classes": ("MPNetForSequenceClassification", {**BERT, "model_type": "mpnet"}),
    "modernbert, windows of 4 in three of four layers": (
        "ModernBertModel",
        {**MODERNBERT, "model_type": "modernbert", "local_attention": 4, "global_attn_every_n_layers": 4},
    ),
    "modernbert, biases, layer types, bases, classes by the mean": (
        "ModernBertForSequenceClassification",
        {
            **MODERNBERT,
            "model_type": "modernbert",
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "classifier_bias": True,
            "classifier_pooling": "mean",
            "local_attention": 6,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 500.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            },
            "num_labels": 3,
        },
    ),
    "bert, five classes of tokens": (
        "BertForTokenClassification",
        {**BERT, "model_type": "bert", "pad_token_id": 0, "num_labels": 5},
    ),
    "distilbert, three classes of tokens": (
        "DistilBertForTokenClassification",
        {**DISTILBERT, "model_type": "distilbert", "num_labels": 3},
    ),
    "roberta, four classes of tokens": (
        "RobertaForTokenClassification",
        {**BERT, "model_type": "roberta", "type_vocab_size": 1, "num_labels": 4},
    ),
    "mpnet, two classes of tokens": ("MPNetForTokenClassification", {**BERT, "model_type": "mpnet"}),
    "modernbert, three classes of tokens": (
        "ModernBertForTokenClassification",
        {**MODERNBERT, "model_type": "modernbert", "local_attention": 6, "classifier_bias": True, "num_labels": 3},
    ),
    "gemma3_text in both directions, windows of 4 on either side": ("Gemma3TextModel", EMBEDDING_GEMMA),
}
HEADLESS = {
    "llama without its head": ("LlamaModel", {**DECODER, "model_type": "llama"}),
    "mistral without its head, window of 6": (
        "MistralModel",
        {**DECODER, "model_type": "mistral", "head_dim": 6, "sliding_window": 6},
    ),
    "qwen2 without its head, tied": ("Qwen2Model", {**DECODER, "model_type": "qwen2", "tie_word_embeddings": True}),
}
BATCH, LENGTH = 2, 21


def numbers(tensor: torch.Tensor) -> list[float]:
    return [float(f"{x:.7g}") for x in tensor.flatten().tolist()]


def golden(name: str, architecture: str, config: dict) -> dict:
    kind = getattr(transformers, architecture)
    with tempfile.TemporaryDirectory() as folder:
        kind(AutoConfig.for_model(**config)).to(torch.float32).save_pretrained(folder)
        path = f"{folder}/model.safetensors"
        tensors = {key: weight(key, x.size).reshape(x.shape) for key, x in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
        model = kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    ids = [[3 + (7 * i * i + 3 * i + 5 * row) % (config["vocab_size"] - 4) for i in range(LENGTH)] for row in range(BATCH)]
    ids = [[token + 1 if token == config["pad_token_id"] else token for token in row] for row in ids]
    with torch.no_grad():
        base = model.base_model(torch.tensor(ids))
        out = {"hidden": numbers(base.last_hidden_state)}
        if getattr(base, "pooler_output", None) is not None:
            out["pooled"] = numbers(base.pooler_output)
        if architecture.endswith("ForSequenceClassification"):
            out["classes"] = numbers(model(torch.tensor(ids)).logits)
        if architecture.endswith("ForTokenClassification"):
            out["tokenClasses"] = numbers(model(torch.tensor(ids)).logits)
    return {
        "name": name,
        "config": {**config, "architectures": [architecture]},
        "tensors": {key: list(x.shape) for key, x in tensors.items()},
        "ids": ids,
        **out,
    }


if __name__ == "__main__":
    import sys

    torch.manual_seed(0)
    chosen = HEADLESS if sys.argv[1:] == ["headless"] else CASES
    print(json.dumps({"cases": [golden(name, *case) for name, case in chosen.items()]}))
