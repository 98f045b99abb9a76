"""GPTQ of a whole model with llm-compressor, as its examples call it: block by block, act-order with the grids of groups fixed
beforehand (its "static"), damping 0.01. Arguments: see llm_compressor.py."""

from llm_compressor import run
from llmcompressor.modifiers.gptq import GPTQModifier


def recipe(model, groups):
    return GPTQModifier(
        config_groups=groups, ignore=["lm_head"], actorder="static", dampening_frac=0.01, block_size=128
    )


run(recipe)
