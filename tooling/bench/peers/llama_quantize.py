"""Quantizes a GGUF file with llama.cpp: FROM TO TYPE THREADS. Embeddings and output stay f16, as in our runs."""
import ctypes
import sys

import llama_cpp

source, target, kind, threads = sys.argv[1:]
ftype = {"Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, "Q4_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_S}[kind]
params = llama_cpp.llama_model_quantize_default_params()
params.ftype = ftype
params.nthread = int(threads)
params.pure = True
params.quantize_output_tensor = False
params.token_embedding_type = llama_cpp.GGML_TYPE_F16
result = llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))
sys.exit(0 if result == 0 else f"llama.cpp gave {result}")
