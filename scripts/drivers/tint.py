"""Does Tint, the compiler of Chromium's WebGPU, accept every shader?

    python3 tint.py FOLDER-OF-PYDAWN FOLDER-OF-SHADERS

Dawn's null adapter compiles and validates modules without any driver. Prints a
line of JSON for each shader of `index.jsonl`: its number, and the first error. A
shader that exchanges values between lanes gets `enable subgroups;` in front, which
WGSL demands and naga 30 does not know yet. 64-bit integers are not WGSL.

Tint has no builtin `subgroup_id` in this version of Dawn, so an invocation's index
stands in for it. It differs within a subgroup, where the number of the subgroup does
not: whether lanes exchange values in uniform control flow is not checked.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from pydawn import utils, webgpu  # noqa: E402  (the path is an argument)


def null_adapter():
    options = webgpu.WGPURequestAdapterOptions()
    options.backendType = webgpu.WGPUBackendType_Null
    answer = webgpu.WGPURequestAdapterCallbackInfo()
    answer.mode = webgpu.WGPUCallbackMode_WaitAnyOnly
    result = utils.ResultContainer()

    def received(status, adapter, message, _):
        result.status, result.value, result.msg = status, adapter, utils.from_wgpu_str(message)

    answer.callback = webgpu.WGPURequestAdapterCallback(received)
    utils.wait(webgpu.wgpuInstanceRequestAdapterF(utils.instance, options, answer))
    if result.status != webgpu.WGPURequestAdapterStatus_Success:
        raise SystemExit(f"Dawn has no null adapter: {result.msg}")
    return result.value


def main():
    folder = Path(sys.argv[2])
    features = [webgpu.WGPUFeatureName_ShaderF16, webgpu.WGPUFeatureName_Subgroups]
    device = utils.request_device_sync(null_adapter(), features)
    for line in (folder / "index.jsonl").read_text().splitlines():
        row = json.loads(line)
        # Text in comments need not be ASCII, and `to_wgpu_str` counts characters.
        source = (folder / f"{row['index']:05}.wgsl").read_text(encoding="utf-8").encode("ascii", "replace").decode()
        if row["subgroup"]:
            source = source.replace("@builtin(subgroup_id)", "@builtin(local_invocation_index)")
            source = "enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n" + source
        began, error = time.time(), None
        try:
            module = utils.create_shader_module(device, source)
            webgpu.wgpuShaderModuleRelease(module)
        except RuntimeError as problem:
            error = str(problem)
        milliseconds = 1e3 * (time.time() - began)
        print(json.dumps({"index": row["index"], "milliseconds": milliseconds, "error": error}), flush=True)


main()
