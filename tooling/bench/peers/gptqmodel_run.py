"""GPTQ of a whole model with GPTQModel on the CPU, as its users call it: act-order with the grids of groups fixed beforehand,
asymmetric, damping 0.01. Load and save included. The windows are handed over as token ids.
gptqmodel_run.py THREADS MODEL CALIB OUT BITS GROUP BATCH"""

import sys

import token_windows
import torch
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig

threads, path, calib, out, bits, group, batch = sys.argv[1:]
torch.set_num_threads(int(threads))
windows = token_windows.read(calib)
config = QuantizeConfig(
    bits=int(bits),
    group_size=int(group),
    sym=False,
    desc_act=True,
    act_group_aware=False,
    static_groups=True,
    damp_percent=0.01,
    offload_to_disk=False,
)
model = GPTQModel.load(path, config, device="cpu", dtype=torch.float32)
rows = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in windows]
model.quantize(rows, batch_size=int(batch), backend=BACKEND.GPTQ_TORCH)
model.save(out)
