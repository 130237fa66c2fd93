"""Writes the names and shapes of the state_dict of each case to standard output.
A line is a layer: its name, then `conv`, `norm` or `linear` and the shape of its
weights; or its name, one of its tensors and the shape. `-` is a tensor without a
part, `one` the shape of a single value.

    python scripts/foreign/names.py > tests/fixtures/foreign-names.txt
"""

from cases import CASES


def text(shape):
    return "×".join(map(str, shape)) or "one"


def lines(table):
    layers = {}
    for name, tensor in table.items():
        layer, _, part = name.rpartition(".")
        known = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
        if part not in known:
            layer, part = name, "-"
        layers.setdefault(layer, {})[part] = list(tensor.shape)
    for layer, parts in sorted(layers.items()):
        weight = parts.get("weight", [])
        if list(parts) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]:
            yield f"{layer} norm {text(weight)}"
        elif list(parts) == ["weight"] and len(weight) == 4:
            yield f"{layer} conv {text(weight)}"
        elif list(parts) == ["weight", "bias"] and len(weight) == 2:
            yield f"{layer} linear {text(weight)}"
        else:
            for part, shape in parts.items():
                yield f"{layer} {part} {text(shape)}"


print("# Names and shapes of the tensors that PyTorch's modules have; written by scripts/foreign/names.py.")
print("# `as CASE`: the lines of that case, without those after `-`, and the lines that follow.")
known = {}
for case in CASES:
    listed = list(lines(case.make().state_dict()))
    title = f"{case.dialect} {case.model} {case.size} {case.classes}"
    print(f"\n= {title}")
    nearest = max(known, key=lambda other: len(set(known[other]) & set(listed)), default=None)
    if nearest and len(set(known[nearest]) & set(listed)) > len(listed) // 2:
        print(f"as {nearest}")
        print("".join(f"- {line}\n" for line in known[nearest] if line not in listed), end="")
        print("".join(f"{line}\n" for line in listed if line not in known[nearest]), end="")
    else:
        print("\n".join(listed))
    known[title] = listed
