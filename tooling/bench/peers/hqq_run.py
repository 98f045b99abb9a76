"""HQQ of a whole model with the hqq package on the CPU: half-quadratic search of the zero points, asymmetric, in groups
along the inputs. Load and save included; no calibration text is read.
hqq_run.py THREADS MODEL CALIB OUT BITS GROUP"""

import os
import sys

import torch
from hqq.core.quantize import Quantizer
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

threads, path, _, out, bits, group = sys.argv[1:]
torch.set_num_threads(int(threads))
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
tensors = {}
for name, module in model.model.layers.named_modules():
    if not isinstance(module, torch.nn.Linear):
        continue
    codes, meta = Quantizer.quantize(
        module.weight.data,
        nbits=int(bits),
        group_size=int(group),
        optimize=True,
        axis=1,
        device="cpu",
        compute_dtype=torch.float32,
    )
    tensors[f"{name}.codes"] = codes
    tensors[f"{name}.scale"] = meta["scale"].half().contiguous()
    tensors[f"{name}.zero"] = meta["zero"].half().contiguous()
tensors["embeddings"] = model.get_input_embeddings().weight.data.bfloat16()
os.makedirs(out)
save_file(tensors, os.path.join(out, "model.safetensors"))
