"""What transformers writes greedily, for tests: the ids behind each prompt.

Run: python tooling/figures/reference/generated_text.py demo=packages/cli/demo/model llama-5m=FOLDER
     > packages/execution/src/testing/generated-text.json
Needs torch and transformers 5.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

prompts = ["Once upon a time", "The dog and the cat", "Lily said: “"]
tokens = 48

torch.set_num_threads(1)
cases = []
for argument in sys.argv[1:]:
    name, folder = argument.split("=", 1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        output = model.generate(ids, max_new_tokens=tokens, do_sample=False)
        new = output[0, ids.shape[1]:].tolist()
        cases.append({
            "model": name,
            "prompt": prompt,
            "promptIds": ids[0].tolist(),
            "ids": new,
            "text": tokenizer.decode(new, skip_special_tokens=True),
        })
print(json.dumps({"cases": cases}, ensure_ascii=False, indent=1))
