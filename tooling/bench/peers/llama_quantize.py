"""Quantizes a GGUF file with llama.cpp: FROM TO TYPE THREADS. Embeddings and output stay f16, as in our runs. With THREADS alone it
answers one line of JSON with one: {"from": ..., "to": ..., "type": ...} quantizes."""

import ctypes
import json
import sys

import llama_cpp


def quantize(source, target, kind, threads):
    """Returns 0 when it went well."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = {"Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, "Q4_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_S}[kind]
    params.nthread = int(threads)
    params.pure = True
    params.quantize_output_tensor = False
    params.token_embedding_type = llama_cpp.GGML_TYPE_F16
    return llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))


if len(sys.argv) == 2:
    print(json.dumps({"ready": llama_cpp.__version__}), flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        print(json.dumps({"result": quantize(task["from"], task["to"], task["type"], sys.argv[1])}), flush=True)
else:
    result = quantize(*sys.argv[1:])
    sys.exit(0 if result == 0 else f"llama.cpp gave {result}")
