"""Do PyTorch's own modules accept what this program writes, and do both compute the
same logits?

    python scripts/foreign/check.py PROGRAM [PART OF A CASE] … [--more]

PROGRAM is `residua`; `--more` takes the large networks too. Each case of cases.py goes both ways: random weights of
PyTorch's module are read by `residua features`, whose logits are compared; they go
through `residua convert` to canonical names and back to the dialect; the result is
loaded with strict=True, its tensors are compared to the bit, and its logits to 1e-5
of their largest value. Needs torch, torchvision, timm,
pretrainedmodels (Cadene's), numpy, pillow, safetensors.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cases import CASES, MORE

LIMIT = 1e-5


def random_weights(module, seed):
    """Weights for which signals neither vanish nor grow, with statistics of batch
    norms that are not those of a new network."""
    generator = torch.Generator().manual_seed(seed)
    table = {}
    for name, tensor in module.state_dict().items():
        shape = tensor.shape
        normal = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            table[name] = torch.tensor(0)
        elif name.endswith("running_var"):
            table[name] = 0.75 + 0.5 * torch.rand(shape, generator=generator)
        elif tensor.dim() > 1:
            table[name] = normal * (1.0 / tensor[0].numel()) ** 0.5
        elif name.endswith("weight"):
            table[name] = 1.0 + 0.1 * normal
        else:
            table[name] = 0.1 * normal
    return table


def images(folder, size, classes):
    """A folder with a picture for each class, of which the first two are random, and
    what the network sees of these."""
    seen = []
    for number in range(classes):
        pixels = np.zeros((size, size, 3), dtype=np.uint8)
        if number < 2:
            pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
            seen.append(pixels)
        for split in ["train", "val"]:
            place = folder / split / f"class{number:04}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / "picture.png")
    pixels = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (pixels - mean) / std


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(done.stderr.strip().splitlines()[-1])


def difference(found, wanted):
    return float((found - wanted).abs().max() / wanted.abs().max())


def check(program, case, folder):
    module = case.make()
    table = random_weights(module, 1)
    module.load_state_dict(table, strict=True)
    module.eval()
    pictures = images(folder / "images", case.size, case.classes)
    with torch.no_grad():
        wanted = module(pictures)
    foreign, own, back = (folder / f"{name}.safetensors" for name in ["foreign", "own", "back"])
    save_file({name: tensor.contiguous() for name, tensor in table.items()}, foreign)
    run(program, "convert", foreign, own, "--model", case.model)
    run(program, "convert", own, back, "--to", case.dialect)

    returned = load_file(back)
    assert returned.keys() == table.keys(), sorted(returned.keys() ^ table.keys())[:3]
    for name, tensor in table.items():
        assert torch.equal(returned[name], tensor), name
    again = case.make()
    again.load_state_dict(returned, strict=True)
    again.eval()
    with torch.no_grad():
        loaded = difference(again(pictures), wanted)
    assert loaded <= LIMIT, loaded

    out = folder / "logits.npy"
    data = ["--data", f"imagefolder:{folder / 'images'}", "--mean", "imagenet", "--std", "imagenet"]
    network = ["--weights", own, *data, "--limit-test", 2, "--layer", "logits", "--no-autotune", "--batch-size", 2]
    # The large networks are much for a driver of a processor.
    network += ["--adapter", "reference"] if case.size > 32 else []
    run(program, "features", *network, "--out", out)
    computed = difference(torch.from_numpy(np.load(out)), wanted)
    assert computed <= LIMIT, f"the logits differ by {computed:.1e}"
    return computed


def main():
    program, *parts = (word for word in sys.argv[1:] if word != "--more")
    torch.set_grad_enabled(False)
    failed = 0
    for case in CASES + MORE if "--more" in sys.argv else CASES:
        title = f"{case.dialect} {case.model}"
        if parts and not any(part in title for part in parts):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(f"{title}: the same names and tensors, logits to {check(program, case, Path(folder)):.1e}", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"{title}: FAILED: {error}", flush=True)
    sys.exit(1 if failed else 0)


main()
