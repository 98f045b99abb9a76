"""GPTQ of a whole model with the published solver, as its authors' scripts go about it: block by block, stage by stage
(true-sequential), each stage's inputs recorded by a run of the block. Load and save included.
reference.py THREADS MODEL CALIB OUT BITS GROUP"""

import sys

import token_windows
import torch
from solver import solve
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

threads, path, calib, out, bits, group = sys.argv[1:]
torch.set_num_threads(int(threads))
torch.set_grad_enabled(False)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
windows = torch.tensor(token_windows.read(calib))
base = model.base_model
blocks = base.layers if hasattr(base, "layers") else base.h if hasattr(base, "h") else base.decoder.layers
stages = [
    ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "attn.c_attn"],
    ["self_attn.o_proj", "self_attn.out_proj", "attn.c_proj"],
    ["mlp.gate_proj", "mlp.up_proj", "fc1", "mlp.c_fc"],
    ["mlp.down_proj", "fc2", "mlp.c_proj"],
]


class Stop(Exception):
    pass


states, arguments = [], {}


def catch(module, args, kwargs):
    states.append(args[0] if args else kwargs.pop("hidden_states"))
    arguments.update({key: value for key, value in kwargs.items() if key != "hidden_states"})
    raise Stop


handle = blocks[0].register_forward_pre_hook(catch, with_kwargs=True)
for start in range(0, 128, 8):
    try:
        model(windows[start : start + 8], use_cache=False)
    except Stop:
        pass
handle.remove()


def run(block, state):
    result = block(state, **arguments)
    return result[0] if isinstance(result, tuple) else result


for block in blocks:
    named = dict(block.named_modules())
    for stage in stages:
        members = [named[name] for name in stage if name in named]
        width = members[0].weight.shape[0 if isinstance(members[0], Conv1D) else 1]
        hessian = torch.zeros(width, width)

        def add(module, args, _):
            x = args[0].reshape(-1, width)
            hessian.addmm_(x.T, x)

        handle = members[0].register_forward_hook(add)
        for state in states:
            run(block, state)
        handle.remove()
        for member in members:
            turned = isinstance(member, Conv1D)
            weight = member.weight.data.T if turned else member.weight.data
            rounded = solve(weight.clone(), hessian.clone(), int(bits), int(group))
            member.weight.data = (rounded.T if turned else rounded).contiguous()
    states = [run(block, state) for state in states]
model.save_pretrained(out)
