"""GPTQ of a whole model with llm-compressor, as its examples call it: block by block, act-order with the grids of groups fixed
beforehand (its "static"), asymmetric, damping 0.01. Load and save included. The windows are handed over as token ids.
llm_compressor_run.py THREADS MODEL CALIB.u16 OUT BITS GROUP BATCH"""

import sys

import numpy
import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

threads, path, calib, out, bits, group, batch = sys.argv[1:]
torch.set_num_threads(int(threads))
windows = numpy.fromfile(calib, dtype="<u2").reshape(-1, 256).astype("int64").tolist()
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
grouped = {"strategy": "channel"} if int(group) == -1 else {"strategy": "group", "group_size": int(group)}
weights = QuantizationArgs(num_bits=int(bits), type="int", symmetric=False, **grouped)
recipe = GPTQModifier(
    config_groups={"linears": QuantizationScheme(targets=["Linear"], weights=weights)},
    ignore=["lm_head"],
    actorder="static",
    dampening_frac=0.01,
    block_size=128,
)
oneshot(
    model=model,
    tokenizer=AutoTokenizer.from_pretrained(path),
    dataset=Dataset.from_dict({"input_ids": windows, "attention_mask": [[1] * 256 for _ in windows]}),
    recipe=recipe,
    batch_size=int(batch),
    num_calibration_samples=len(windows),
    max_seq_length=256,
    shuffle_calibration_samples=False,
    output_dir=out,
)
