"""Loads every folder below argv[1] with transformers (GPTQModel's kernels, CPU) and compares logits; report to argv[2]."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from gptqmodel import BACKEND, GPTQModel
from transformers import AutoModelForCausalLM, AwqConfig, GPT2PreTrainedModel, GPTQConfig

LIMIT = 1e-2
# GPT-2's initialisation draws c_proj.weight, which a quantized linear does not have; everything is in the file anyway.
GPT2PreTrainedModel._init_weights = lambda self, module: None
passed, failed = 0, 0
for folder in sorted(Path(sys.argv[1]).iterdir()):
    ids = torch.tensor([json.loads((folder / "ids.json").read_text())])
    ours = np.fromfile(folder / "logits.f32", dtype=np.float32)
    try:
        # The AVX-512 kernel that is chosen by itself refuses group sizes that do not divide the features (688 = 5 * 128 + 48)
        # and groups above 256; the plain torch one takes whatever the format can express.
        settings = json.loads((folder / "config.json").read_text())["quantization_config"]
        if settings["quant_method"] == "awq":
            config = AwqConfig(
                bits=settings["bits"],
                group_size=settings["group_size"],
                zero_point=settings["zero_point"],
                modules_to_not_convert=settings["modules_to_not_convert"],
                backend="torch_awq",
            )
            model = AutoModelForCausalLM.from_pretrained(
                folder, device_map="cpu", dtype=torch.float32, quantization_config=config
            )
        elif any(key.startswith("+:") for key in settings.get("dynamic", {})):
            # Overrides of single modules are known to GPTQModel itself, not to the loader of transformers.
            model = GPTQModel.load(str(folder), device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=torch.float16).model
        else:
            config = GPTQConfig(bits=settings["bits"], backend="torch")
            model = AutoModelForCausalLM.from_pretrained(
                folder, device_map="cpu", dtype=torch.float32, quantization_config=config
            )
        kinds = {type(module).__name__ for module in model.modules() if "Linear" in type(module).__name__}
        with torch.no_grad():
            theirs = model(ids).logits[0].float().numpy().ravel()
        worst = float(np.abs(theirs - ours).max())
        good = worst <= LIMIT
        print(f"{'ok  ' if good else 'FAIL'} {folder.name}: largest difference of logits {worst:.2e} ({', '.join(sorted(kinds))})")
    except Exception as error:  # a folder that does not load is a failure of the check, with the loader's words
        good = False
        print(f"FAIL {folder.name}: {type(error).__name__}: {error}")
    passed, failed = passed + good, failed + (not good)
Path(sys.argv[2]).write_text(json.dumps({"passed": passed, "failed": failed, "skipped": 0}))
sys.exit(1 if failed else 0)
