"""A step of quantization-aware fine-tuning in PyTorch, for `pnpm bench training`: reads the shape of a Llama as JSON in argv[1], then takes one
step for each line on standard input and answers each with a line.

Weights, scales and zero points of all linears of the blocks are trained (2 bits per output channel, straight-through), the loss is the KL to the
logits of the unquantized model, whose last hidden states are kept; AdamW, gradients clipped at norm 1, float32.
"""

import json
import sys

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

shape = json.loads(sys.argv[1])
torch.set_num_threads(shape["threads"])
torch.manual_seed(0)


def through(x):
    return x + (x.round() - x).detach()


class Trained(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().clone())
        low, high = self.weight.amin(1, keepdim=True).clamp(max=0), self.weight.amax(1, keepdim=True).clamp(min=0)
        self.scale = nn.Parameter(((high - low) / 3).detach())
        self.zero = nn.Parameter((-low / (high - low) * 3).detach())

    def forward(self, x):
        zero = through(self.zero)
        codes = torch.clamp(through(self.weight / self.scale + zero), 0, 3)
        return nn.functional.linear(x, (codes - zero) * self.scale)


model = LlamaForCausalLM(LlamaConfig(**shape["config"], attn_implementation="sdpa")).float()
batch, length, vocabulary = shape["batch"], shape["length"], shape["config"]["vocab_size"]
ids = torch.tensor([(i * 7919) % vocabulary for i in range(batch * length)]).view(batch, length)
for parameter in model.parameters():
    parameter.requires_grad_(False)
with torch.no_grad():
    hidden = model.model(ids).last_hidden_state
for layer in model.model.layers:
    for part in (layer.self_attn, layer.mlp):
        for name, child in list(part.named_children()):
            if isinstance(child, nn.Linear):
                setattr(part, name, Trained(child))
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-6, betas=(0.9, 0.95), weight_decay=0)


def step():
    with torch.no_grad():
        teacher = model.lm_head(hidden).view(-1, vocabulary).log_softmax(-1)
    student = model(ids).logits.view(-1, vocabulary).log_softmax(-1)
    loss = nn.functional.kl_div(student, teacher, log_target=True, reduction="sum") / (batch * length)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    return loss.item()


print("ready", flush=True)
for _ in sys.stdin:
    print(step(), flush=True)
