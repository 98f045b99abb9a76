"""Loads every folder below argv[1] with transformers (CPU) and compares logits with ours; report to argv[2].

Two runs on integers agree but where a value lies on the border between two codes, so the limit is relative to what
quantization itself changes: the distance to ours must be a small part of our distance to the unquantized model.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, GPT2PreTrainedModel

SHARE = 0.35
# GPT-2's initialisation draws c_proj.weight, which a quantized linear does not have; everything is in the file anyway.
GPT2PreTrainedModel._init_weights = lambda self, module: None
passed, failed = 0, 0
for folder in sorted(Path(sys.argv[1]).iterdir()):
    ids = torch.tensor([json.loads((folder / "ids.json").read_text())])
    ours = np.fromfile(folder / "logits.f32", dtype=np.float32)
    original = np.fromfile(folder / "original.f32", dtype=np.float32)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", dtype=torch.float32)
        kinds = {type(module).__name__ for module in model.modules() if "inear" in type(module).__name__}
        integers = sum(p.numel() for p in [*model.parameters(), *model.buffers()] if p.dtype == torch.int8)
        with torch.no_grad():
            theirs = model(ids).logits[0].float().numpy().ravel()
        changed = float(np.linalg.norm(ours - original) / np.linalg.norm(original))
        distance = float(np.linalg.norm(theirs - ours) / np.linalg.norm(original))
        good = distance <= SHARE * changed
        print(
            f"{'ok  ' if good else 'FAIL'} {folder.name}: relative distance {distance:.2e}, quantization changed {changed:.2e}"
            f" ({', '.join(sorted(kinds))}, {integers} int8 values)"
        )
    except Exception as error:  # a folder that does not load is a failure of the check, with the loader's words
        good = False
        print(f"FAIL {folder.name}: {type(error).__name__}: {error}")
    passed, failed = passed + good, failed + (not good)
Path(sys.argv[2]).write_text(json.dumps({"passed": passed, "failed": failed, "skipped": 0}))
sys.exit(1 if failed else 0)
