"""AWQ of a whole model with llm-compressor: a search of 20 scales for every norm and what follows it, then rounding to nearest,
asymmetric. Load and save included.
awq_run.py THREADS MODEL CALIB.u16 OUT BITS GROUP BATCH"""

import sys

import numpy
import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQMapping, AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from transformers import AutoModelForCausalLM, AutoTokenizer

# 0.14 pins memory for a GPU whether or not there is one; without one that fails, and there is nothing to gain.
IntermediatesCache.pin_memory = lambda self, *args, **kwargs: None
threads, path, calib, out, bits, group, batch = sys.argv[1:]
torch.set_num_threads(int(threads))
windows = numpy.fromfile(calib, dtype="<u2").reshape(-1, 256).astype("int64").tolist()
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
grouped = {"strategy": "channel"} if int(group) == -1 else {"strategy": "group", "group_size": int(group)}
weights = QuantizationArgs(num_bits=int(bits), type="int", symmetric=False, **grouped)
# It knows the layers of Llama by itself, those of OPT it is told.
opt = [
    AWQMapping("re:.*self_attn_layer_norm$", ["re:.*q_proj$", "re:.*k_proj$", "re:.*v_proj$"]),
    AWQMapping("re:.*v_proj$", ["re:.*out_proj$"]),
    AWQMapping(r"re:.*layers\.\d+\.final_layer_norm$", ["re:.*fc1$"]),
    AWQMapping("re:.*fc1$", ["re:.*fc2$"]),
]
recipe = [
    AWQModifier(n_grid=20, mappings=opt if model.config.model_type == "opt" else None),
    QuantizationModifier(
        config_groups={"linears": QuantizationScheme(targets=["Linear"], weights=weights)}, ignore=["lm_head"]
    ),
]
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
