"""What the scripts of llm-compressor share: arguments, model, weights' scheme, and a run on the windows as token ids. Load and
save included."""

import sys

import token_windows
import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from transformers import AutoModelForCausalLM, AutoTokenizer


def run(recipe_of):
    """NAME.py THREADS MODEL CALIB OUT BITS GROUP BATCH. `recipe_of(model, groups)` gives the modifiers; `groups` are
    the config groups of all linears: asymmetric integers, per channel for GROUP -1."""
    threads, path, calib, out, bits, group, batch = sys.argv[1:]
    torch.set_num_threads(int(threads))
    windows = token_windows.read(calib)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    grouped = {"strategy": "channel"} if int(group) == -1 else {"strategy": "group", "group_size": int(group)}
    weights = QuantizationArgs(num_bits=int(bits), type="int", symmetric=False, **grouped)
    oneshot(
        model=model,
        tokenizer=AutoTokenizer.from_pretrained(path),
        dataset=Dataset.from_dict({"input_ids": windows, "attention_mask": [[1] * 256 for _ in windows]}),
        recipe=recipe_of(model, {"linears": QuantizationScheme(targets=["Linear"], weights=weights)}),
        batch_size=int(batch),
        num_calibration_samples=len(windows),
        max_seq_length=256,
        shuffle_calibration_samples=False,
        output_dir=out,
    )
