"""SignRound of a whole model with AutoRound: signed gradient descent on rounding and ranges, block by block, asymmetric. Load and
save included.
auto_round_run.py THREADS MODEL CALIB OUT BITS GROUP BATCH STEPS"""

import sys

import token_windows
import torch
from auto_round import AutoRound
from transformers import AutoModelForCausalLM, AutoTokenizer

threads, path, calib, out, bits, group, batch, steps = sys.argv[1:]
torch.set_num_threads(int(threads))
windows = torch.tensor(token_windows.read(calib))
rows = [{"input_ids": ids[None], "attention_mask": torch.ones(1, 256, dtype=torch.int64)} for ids in windows]
rounding = AutoRound(
    AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32),
    AutoTokenizer.from_pretrained(path),
    scheme={"bits": int(bits), "group_size": int(group), "sym": False, "data_type": "int", "act_bits": 16},
    dataset=rows,
    iters=int(steps),
    nsamples=len(rows),
    seqlen=256,
    batch_size=int(batch),
    device_map="cpu",
    enable_torch_compile=False,
    amp=False,
)
rounding.quantize_and_save(out, format="auto_round")
