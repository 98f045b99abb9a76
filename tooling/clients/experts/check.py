"""Loads every folder below argv[1] with transformers (CPU) and compares logits with ours; report to argv[2].

MXFP4 experts are dequantized by transformers where no GPU is there, by its own code, to bf16: their values, E2M1 times a power of
two, are exact in bf16, so the model then computes in f32 with the values of the file.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Mxfp4Config

LIMIT = 1e-4
passed, failed = 0, 0
for folder in sorted(Path(sys.argv[1]).iterdir()):
    ids = torch.tensor([json.loads((folder / "ids.json").read_text())])
    ours = np.fromfile(folder / "logits.f32", dtype=np.float32)
    try:
        settings = {"quantization_config": Mxfp4Config(dequantize=True)} if folder.name.startswith("mxfp4") else {}
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, device_map="cpu", dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **settings
        )
        model = model.to(torch.float32)
        with torch.no_grad():
            theirs = model(ids).logits[0].float().numpy().ravel()
        distance = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        odd = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
        good = distance <= LIMIT and not odd
        print(f"{'ok  ' if good else 'FAIL'} {folder.name}: relative distance {distance:.2e} {odd}")
    except Exception as error:  # a folder that does not load is a failure of the check, with the loader's words
        good = False
        print(f"FAIL {folder.name}: {type(error).__name__}: {error}")
    passed, failed = passed + good, failed + (not good)
Path(sys.argv[2]).write_text(json.dumps({"passed": passed, "failed": failed, "skipped": 0}))
sys.exit(1 if failed else 0)
