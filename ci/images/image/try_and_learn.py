"""Tries an image from inside, and leaves in it what vLLM would ask a second Python before each boot.

Before it loads a model, vLLM imports the model's code in a process of its own to
learn what the architecture can do: a quarter of a small model's boot. Since
about 0.10 it keeps the answer below ~/.cache/vllm, which a container loses when
it is removed. So the answers for the architectures that the harness boots are
part of the image. Prints the versions found.
"""

import os
import sys

# Temporary files of this run must not stay in the image.
os.environ["TMPDIR"] = "/dev/shm"

import torch
import torchvision
import vllm
import vllm._C  # a library that is missing shows here, not when the first test boots
from vllm.model_executor.models import registry
from vllm.platforms import current_platform

ARCHITECTURES = (
    "BaichuanForCausalLM",
    "DeepseekV2ForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2VLForConditionalGeneration",
    "Qwen3ForCausalLM",
)

assert torch.version.cuda is None, torch.version.cuda
assert type(current_platform).__name__ == "CpuPlatform", current_platform

if hasattr(registry._LazyRegisteredModel, "_save_modelinfo_to_cache"):
    # This process serves no model, so it may do what the second one is for.
    registry._run_in_subprocess = lambda inspect: inspect()
    for architecture in ARCHITECTURES:
        model = registry.ModelRegistry.models.get(architecture)
        try:
            if model is not None:
                model.inspect_model_cls()
        except Exception as error:  # this version does not serve it on the CPU
            print(f"{architecture}: {error!r}", file=sys.stderr)

print("torch", torch.__version__, "torchvision", torchvision.__version__, "vllm", vllm.__version__)
