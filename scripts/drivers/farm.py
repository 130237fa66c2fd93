#!/usr/bin/env python3
"""Do real drivers and compilers accept every shader, and what do they make of it?

    scripts/drivers/farm.py            everything; writes docs/drivers.md
    scripts/drivers/farm.py --short    under three minutes; a part of `make test`
    scripts/drivers/farm.py --update   everything, with the mirror's newest packages
    scripts/drivers/farm.py --only M1  one driver again, and the table
    scripts/drivers/farm.py --cold target/release/residua
                                       the first start of each lavapipe, and the table

Drivers are Debian packages, unpacked in a cache folder (`target/drivers`, or
`RESIDUA_DRIVERS`): nothing is installed, and no rights are needed. `drivers.toml`
has the drivers, what a kernel may cost on them, and the failures that are known.
The exit code is 1 where something else fails. Where files cannot be had (no
network, not x86-64 Linux) a line says so; the short form then ends with 0.
"""

import argparse
import array
import collections
import concurrent.futures
import datetime
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from pathlib import Path

from packages import Root, Unavailable

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
CACHE = Path(os.environ.get("RESIDUA_DRIVERS", TREE / "target/drivers"))
WANTED = {
    "bookworm": ["libvulkan1", "mesa-vulkan-drivers"],
    "trixie": ["libvulkan1", "mesa-drm-shim", "mesa-vulkan-drivers", "spirv-tools"],
    "sid": ["libvulkan1", "mesa-drm-shim", "mesa-vulkan-drivers", "spirv-tools", "chromium-common"],
}
# Modules of the integration tests whose tests run on a device, every kernel among them.
TESTS = ["kernels::", "precision::", "proof::", "tuning::"]
# Test images of the evaluation.
IMAGES = 500
# The version of Dawn in whose null adapter Tint compiles, as a Python package.
DAWN = "dawn-python==0.3.0"
# Seconds without a line after which a compiler counts as hung.
PATIENCE = 120
# Seconds after which tests, a training or an evaluation are ended.
LONGEST = 1800
# The one rule that naga's SPIR-V breaks, in every program of wgpu 30: arrays in the
# storage classes Function and Workgroup have a stride. No driver reads it.
ALLOWED_RULE = "VUID-StandaloneSpirv-None-10684"


def say(text):
    print(text, file=sys.stderr, flush=True)


class Farm:
    """The drivers and programs that are here, and what was found."""

    def __init__(self, short):
        self.short = self.default_only = short
        # Nobody expects hundreds of megabytes from a test: only a machine for tests fetches them for it.
        self.may_fetch = not short or "CI" in os.environ
        facts = tomllib.loads((HERE / "drivers.toml").read_text())
        self.all_drivers = facts["driver"]
        self.drivers = [driver for driver in self.all_drivers if driver.get("short") or not short]
        self.expected = facts.get("expected", [])
        self.budgets = facts["budget"]
        self.makes = facts["make"]
        self.roots = {}
        self.failures = []
        self.missing = []

    # Programs.

    def unpack(self, update):
        """Unpacks the drivers."""
        for suite in dict.fromkeys(driver["suite"] for driver in self.drivers):
            root = Root(CACHE, suite)
            try:
                root.install(WANTED[suite], self.may_fetch, update)
            except Unavailable as problem:
                if self.short:
                    raise
                self.missing.append(f"{suite}: {problem}")
                continue
            self.roots[suite] = root
        self.drivers = [driver for driver in self.drivers if driver["suite"] in self.roots]

    def build_programs(self):
        """Builds what the drivers are given."""
        self.variants = self.build(["--example", "variants"])["variants"]
        if any(driver.get("runs") for driver in self.drivers):
            programs = self.build(["--test", "it"])
            self.tests, self.residua = programs["it"], programs["residua"]

    def build(self, what):
        """The programs that cargo makes of `what`, by their names."""
        command = ["cargo", "test" if what[0] == "--test" else "build", *what, "--message-format=json"]
        command += ["--no-run"] if what[0] == "--test" else []
        answer = subprocess.run(command, cwd=TREE, stdout=subprocess.PIPE, text=True)
        if answer.returncode:
            raise SystemExit(f"{' '.join(command)} failed")
        made = (json.loads(line) for line in answer.stdout.splitlines())
        return {one["target"]["name"]: one["executable"] for one in made if one.get("executable")}

    def started(self, driver, command, **options):
        """`command` with the driver, and no other."""
        root = self.roots[driver["suite"]]
        places = ("usr/share/vulkan/icd.d", "usr/lib/chromium")
        file = next(file for place in places for file in (root.path / place).glob(f"*{driver['icd']}_icd*.json"))
        icd = json.loads(file.read_text())
        name = Path(icd["ICD"]["library_path"]).name
        library = file.with_name(name) if file.with_name(name).exists() else root.find(name)
        icd["ICD"]["library_path"] = str(library)
        own = CACHE / "icd" / f"{driver['suite']}-{driver['icd']}.json"
        own.parent.mkdir(exist_ok=True)
        # Another process may read the file at this moment.
        with tempfile.NamedTemporaryFile("w", dir=own.parent, delete=False) as fresh:
            fresh.write(json.dumps(icd))
        os.replace(fresh.name, own)
        environment = {
            **os.environ,
            **driver["environment"],
            "VK_DRIVER_FILES": str(own),
            "VK_ICD_FILENAMES": str(own),
            "NODEVICE_SELECT": "1",
            "XDG_CACHE_HOME": str(CACHE / "caches" / slug(driver)),
        }
        shims = [driver["shim"]] if "shim" in driver else []
        return subprocess.Popen(root.command(shims) + command, env=environment, cwd=TREE, text=True, **options)

    # Compilers of drivers.

    def compile(self, driver):
        """A row for each variant that the driver's compiler was given, and the head."""
        folder = CACHE / "spirv" / slug(driver)
        shutil.rmtree(folder, ignore_errors=True)
        # Mesa stores what it compiles, and would be timed at reading it.
        self.forget(driver)
        parts = os.cpu_count() or 1
        rows, heads = [[] for _ in range(parts)], [None] * parts

        def one(part):
            begin = 0
            while begin is not None:
                begin = self.compile_part(driver, folder, f"{part}/{parts}", begin, rows[part], heads, part)

        threads = [threading.Thread(target=one, args=(part,)) for part in range(parts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        all_rows = sorted((row for part in rows for row in part), key=lambda row: row["index"])
        return next((head for head in heads if head), None), all_rows

    def compile_part(self, driver, folder, part, begin, rows, heads, number):
        """Compiles from variant `begin` on; where to go on after a crash, else None."""
        options = ["--default"] if self.default_only else []
        options += ["--spirv"] if driver.get("spirv") else []
        command = [self.variants, "compile", str(folder), "--part", part, "--from", str(begin), *options]
        log = (CACHE / f"{slug(driver)}.stderr").open("a")
        process = self.started(driver, command, stdout=subprocess.PIPE, stderr=log)
        current, hung = None, []
        watch = Watch(process, hung)
        for line in process.stdout:
            watch.seen()
            row = json.loads(line)
            if "adapter" in row:
                heads[number] = row
            elif "begins" in row:
                current = row
            else:
                rows.append(row)
                current = None
        process.wait()
        watch.stop()
        if current:
            reason = f"no answer in {PATIENCE} s" if hung else f"the compiler crashed (status {process.returncode})"
            rows.append({**current, "index": current["begins"], "default": None, "refused": reason})
            return current["begins"] + 1
        if process.returncode:
            self.failures.append(f"{driver['name']}: `variants compile` ended with {process.returncode}: see {log.name}")
        return None

    # Compilers of shading languages.

    def listed(self, subgroup=0, cpu=False):
        """The folder with the shaders of a kind of adapter, and its index."""
        folder = CACHE / "shaders" / (f"cpu-{subgroup}" if cpu else "gpu")
        shutil.rmtree(folder, ignore_errors=True)
        command = [self.variants, "list", str(folder), "--subgroup", str(subgroup)]
        command += ["--cpu"] if cpu else []
        # The tuner's choices for processors are thousands of long texts.
        command += ["--default"] if self.default_only or cpu else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return folder, [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]

    def tint(self, folder, rows):
        """The errors of Tint, by number."""
        dawn = CACHE / "dawn"
        if not dawn.exists() and not self.may_fetch:
            raise Unavailable(f"no {DAWN}; `make drivers` fetches it")
        if not dawn.exists():
            install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", f"{dawn}.new", DAWN]
            answer = subprocess.run(install, capture_output=True, text=True)
            if answer.returncode:
                raise Unavailable(f"{DAWN}: {(answer.stderr.strip().splitlines() or ['pip failed'])[-1]}")
            Path(f"{dawn}.new").rename(dawn)
        command = [sys.executable, str(HERE / "tint.py"), str(dawn), str(folder)]
        answer = subprocess.run(command, capture_output=True, text=True)
        found = {row["index"]: row["error"] for row in map(json.loads, answer.stdout.splitlines())}
        if answer.returncode or len(found) < len(rows):
            self.failures.append(f"Tint ended after {len(found)} of {len(rows)} shaders: {answer.stderr[-400:]}")
        return {index: error for index, error in found.items() if error}

    def spirv_val(self, driver):
        """How many files there are, and the rules that they break, with a file for each."""
        root = self.roots[driver["suite"]]
        program = root.command() + [str(root.path / "usr/bin/spirv-val"), "--target-env", "vulkan1.3"]
        files = sorted((CACHE / "spirv" / slug(driver)).glob("*.spv"))
        broken = collections.defaultdict(list)
        lock, waiting = threading.Lock(), iter(files)

        def work():
            while True:
                with lock:
                    file = next(waiting, None)
                if file is None:
                    return
                answer = subprocess.run([*program, str(file)], capture_output=True, text=True)
                if answer.returncode:
                    text = answer.stdout + answer.stderr
                    rule = re.search(r"VUID-[\w-]+", text)
                    with lock:
                        broken[rule.group() if rule else text.strip()[:200]].append(file.name)

        threads = [threading.Thread(target=work) for _ in range(os.cpu_count() or 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(files), dict(broken)

    # What drivers compute.

    def suite(self, driver):
        """How many tests pass on a driver that executes, and which fail."""
        def text_of(*words):
            process = self.started(driver, [self.tests, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            return answer_of(process, LONGEST)[0], process.returncode

        def one(name):
            text, code = text_of(name, "--exact")
            if code:
                say(f"    {name} ended with {code}: {text[-1500:]}")
            return code

        names = re.findall(r"^(\S+): test$", text_of(*driver.get("tests", TESTS), "--list")[0], re.MULTILINE)
        # A process for each: SwiftShader keeps all that it has compiled, 17 GB in one process.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            codes = list(pool.map(one, names))
        failed = sorted(name for name, code in zip(names, codes) if code)
        return len(names) - len(failed), failed

    def program(self, driver, words, program=None):
        """Seconds, CPU seconds and output of a command of the program; `None` where it failed."""
        began, before = time.monotonic(), os.times()
        command = [str(program or self.residua), *map(str, words)]
        process = self.started(driver, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        text, errors = answer_of(process, LONGEST)
        after = os.times()
        if process.returncode:
            last = (errors.strip().splitlines() or ["no word"])[-1]
            self.failures.append(f"{driver['name']}: `residua {words[0]}` ended with {process.returncode}: {last[:300]}")
            return None
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        return {"seconds": time.monotonic() - began, "cpu": spent, "text": text}

    def forget(self, driver):
        """Empties the driver's caches, and the program's."""
        shutil.rmtree(CACHE / "caches" / slug(driver), ignore_errors=True)

    def trained(self, driver):
        """A short training twice, with empty caches and again: seconds, and the hash of the weights."""
        self.forget(driver)
        runs = []
        for number in range(2):
            folder = CACHE / "runs" / f"{slug(driver)}-{number}"
            shutil.rmtree(folder, ignore_errors=True)
            words = ["train", "--model", "resnet8", "--data", "synthetic:96,32", "--batch-size", "32"]
            words += ["--epochs", "1", "--seed", "7", "--no-autotune", "--out", folder]
            run = self.program(driver, words)
            if run is None:
                return []
            digest = hashlib.sha256((folder / "last.safetensors").read_bytes()).hexdigest()
            runs.append({"seconds": run["seconds"], "cpu": run["cpu"], "hash": digest[:12]})
        return runs

    def evaluated(self, driver):
        """ResNet-20's evaluation twice: seconds, and what it finds; nothing where the data are not here."""
        data = Path(os.environ.get("RESIDUA_DATA", TREE.parent / "shared/data"))
        weights = data / "cifar10-weights/resnet20.safetensors"
        if not weights.exists():
            say(f"    no evaluation: {weights} is not there; RESIDUA_DATA names the folder")
            return []
        words = ["eval", "--json", "--model", "resnet20", "--mean", "imagenet", "--std", "imagenet"]
        words += ["--limit-test", IMAGES, "--data", f"cifar10:{data}/cifar-10-batches-bin", "--weights", weights]
        self.forget(driver)
        runs = [self.program(driver, words) for _ in range(2)]
        if None in runs:
            return []
        found = [(run, json.loads(run["text"])) for run in runs]
        return [{"seconds": run["seconds"], "wrong": one["wrong"], "loss": one["loss"]} for run, one in found]


def answer_of(process, most):
    """What a process writes until its end; it is ended after `most` seconds."""
    try:
        return process.communicate(timeout=most)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


class Watch:
    """Ends a process that has not written a line for a while."""

    def __init__(self, process, hung):
        self.process, self.hung = process, hung
        self.last, self.over = time.monotonic(), threading.Event()
        threading.Thread(target=self.run, daemon=True).start()

    def seen(self):
        self.last = time.monotonic()

    def stop(self):
        self.over.set()

    def run(self):
        while not self.over.wait(1):
            if time.monotonic() - self.last > PATIENCE:
                self.hung.append(True)
                self.process.kill()
                return


def slug(driver):
    return re.sub(r"\W+", "-", driver["name"].lower()).strip("-")


# The table.


def kernel(row):
    """A variant in a few words: its file, and the constants that make its size."""
    constants = row.get("constants") or {}
    sizes = [constants[name].rstrip("u") for name in ("PX", "PY", "KB", "CB", "TM", "TN") if name in constants]
    return f"{row['file']}/{row['entry']} {'×'.join(sizes)}".strip()


def number(row, names):
    """The sum of those of the statistics `names` that the row has; None where it has none."""
    statistics = row.get("statistics") or {}
    found = [statistics[name] for name in names if name in statistics]
    return sum(found) if found else None


def judge(farm, driver, rows):
    """A line of the table, and the failures that were not expected."""
    make = farm.makes[driver["make"]]
    known = [one for one in farm.expected if one["driver"] in driver["name"]]

    def expected(row, what):
        text = kernel(row)
        for one in known:
            if one["what"] == what and re.search(one["kernel"], text):
                one["seen"] = one.get("seen", 0) + 1
                return True
        return False

    compiled = [row for row in rows if "statistics" in row]
    refused = [row for row in rows if "refused" in row]
    for row in refused:
        if not expected(row, "refused"):
            farm.failures.append(f"{driver['name']} refuses {kernel(row)} (number {row['index']}): {row['refused']}")
    default = [row for row in compiled if row["default"]]
    spilling = {False: [], True: []}
    for row in compiled:
        if number(row, make["spills"]):
            spilling[row["default"]].append(row)
    unexplained = [row for row in spilling[True] if not expected(row, "spills")]
    for name in sorted({kernel(row) for row in unexplained}):
        farm.failures.append(f"{driver['name']}: the default kernel {name} spills registers")
    waves = [number(row, [make["waves"]]) for row in default]
    few = [row for row, count in zip(default, waves) if count is not None and count < make["fewest"]]
    few = [row for row in few if not expected(row, "waves")]
    for name in sorted({kernel(row) for row in few}):
        farm.failures.append(f"{driver['name']}: the default kernel {name} leaves fewer than {make['fewest']} {make['waves'].lower()}")
    times = sorted(row["milliseconds"] for row in compiled)
    return {
        "driver": driver["name"],
        "tuning": not farm.default_only,
        "variants": len(compiled),
        "refused": len(refused),
        "left_out": sum("left_out" in row for row in rows),
        "default": len(default),
        "default_spilling": len(spilling[True]),
        "tuner_spilling": len(spilling[False]),
        "registers": max((number(row, make["registers"]) or 0 for row in default), default=0),
        "waves": min((count for count in waves if count is not None), default=None),
        "most": make["most"],
        "median": times[len(times) // 2] if times else 0,
        "longest": times[-1] if times else 0,
        "seconds": sum(times) / 1e3,
        "worst": worst(default, make),
    }


def worst(rows, make):
    """The default kernels that spill most, each family once."""
    found = {}
    for row in rows:
        spills = number(row, make["spills"]) or 0
        name = kernel(row)
        if spills > found.get(name, 0):
            found[name] = spills
    return sorted(found.items(), key=lambda item: -item[1])[:4]


def table(farm, compiled, languages, executed, cold, dates):
    """The text of docs/drivers.md."""
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "no day"
    lines = [
        "# Drivers and compilers",
        "",
        f"Made by `make drivers` ({when}) on a machine without a GPU. Do not edit it by hand.",
        "",
        "Mesa's drivers for GPUs open a device here without the hardware: a *shim* stands in for the kernel's "
        "driver. Their compilers are the real ones; submissions do nothing. What is compiled, in both precisions: the "
        "default kernels of ResNet-20, pre-activation ResNet-164, WRN-16-4, ResNeXt-50 and DenseNet-40 (of layers "
        "that differ in channels only, four); in rows *with tuning* also those of all other networks that `residua "
        "models` lists, and all that the tuner may choose for the first two. The drivers, what a kernel may cost on "
        "them, and the failures that are known are in `scripts/drivers/drivers.toml`.",
        "",
        "## Compilers of drivers",
        "",
        "*Default* kernels are those that are used without tuning. *Spill*: the compiler had too few registers and "
        "moved values to memory. *Fewest waves*: of the default kernels, the one that leaves room for the fewest "
        "subgroups at a time on one unit of the hardware (in the compiler's own count).",
        "",
        "| driver | version | variants | refused | default kernels | of them spill | others that spill | most registers | fewest waves | ms a pipeline, median | longest |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for head, row in compiled:
        lines.append(
            f"| {row['driver']} | {head['driver']} | {row['variants']}{' with tuning' if row.get('tuning') else ''} | {row['refused']} | {row['default']} | "
            f"{row['default_spilling']} | {row['tuner_spilling']} | {row['registers'] or ''} | "
            f"{row['waves'] if row['waves'] is not None else ''} of {row['most']} | {row['median']:.1f} | {row['longest']:.0f} |"
        )
    spilling = [(row["driver"], row["worst"]) for _, row in compiled if row["worst"]]
    if spilling:
        lines += ["", "The default kernels that spill most (file, entry, tile: spilled values):", ""]
        for driver, found in spilling:
            lines.append(f"- {driver}: " + ", ".join(f"`{name}`: {count}" for name, count in found))
    lines += ["", "## Compilers of shading languages", "", "| compiler | shaders | refused | |", "|---|---:|---:|---|"]
    lines += [f"| {name} | {count} | {bad} | {note} |" for name, count, bad, note in languages]
    if executed:
        lines += [
            "",
            "## Drivers that compute",
            "",
            f"The tests `{' '.join(TESTS)}` of `cargo test --test it`, most of them against the f64 reference (on some "
            "drivers fewer of them, by `tests` in `drivers.toml`); a training "
            "of ResNet-8 on 96 images; and ResNet-20's "
            f"evaluation on the first {IMAGES} test images of CIFAR-10, with published weights. *First*: with empty "
            "caches. *Apart*: the distance of the trained weights from those of the first driver, as a part of their "
            "norm; 0 means the same bits.",
            "",
            "| driver | version | tests passed | failed | training, first, s | CPU s | again, s | same bits again | apart | "
            "evaluation, first, s | again, s | wrong | loss | same again |",
            "|---|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---|",
        ]
        yes = {True: "yes", False: "**no**"}
        for row in executed:
            cells = [row["driver"], row["version"], row["passed"], len(row["failed"])]
            if len(row["trained"]) == 2:
                first, second = row["trained"]
                apart = "" if row["apart"] is None else f"{row['apart']:.1e}" if row["apart"] else "0"
                cells += [f"{first['seconds']:.0f}", f"{first['cpu']:.0f}", f"{second['seconds']:.0f}"]
                cells += [yes[first["hash"] == second["hash"]], apart]
            else:
                cells += [""] * 5
            if len(row["evaluated"]) == 2:
                first, second = row["evaluated"]
                cells += [f"{first['seconds']:.0f}", f"{second['seconds']:.0f}", first["wrong"], f"{first['loss']:.7f}"]
                cells += [yes[first["loss"] == second["loss"]]]
            else:
                cells += [""] * 5
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    if cold:
        lines += cold_table(cold)
    if farm.expected:
        lines += ["", "## Known failures", "", "| driver | kernel | what | seen | reason |", "|---|---|---|---:|---|"]
    for one in farm.expected:
        lines.append(f"| {one['driver']} | `{one['kernel']}` | {one['what']} | {one.get('seen', 0)} | {one['reason']} |")
    if farm.missing:
        lines += ["", "## Not run", ""] + [f"- {line}" for line in farm.missing]
    notes = HERE / "notes.md"
    lines += ["", notes.read_text().rstrip(), ""]
    return "\n".join(lines)


def languages_of(farm):
    """Tint, naga's writers and spirv-val over the shaders of GPUs and processors."""
    found = []
    tint_version = DAWN.replace("==", " ")
    for what, options in [("of GPUs", {}), ("of processors, subgroups of 8", {"cpu": True, "subgroup": 8})]:
        if farm.short and options:
            continue
        folder, rows = farm.listed(**options)
        for language in ("msl", "hlsl"):
            texts = [row[language] for row in rows if isinstance(row[language], int)]
            bad = len(rows) - len(texts)
            texts.sort()
            note = f"median {texts[len(texts) // 2] >> 10} KB, longest {texts[-1] >> 10} KB"
            found.append((f"naga 30 to {language.upper()}, {what}", len(rows), bad, note))
            if bad:
                farm.failures.append(f"{bad} shaders {what} cannot be written as {language.upper()}")
            if language == "hlsl" and not options and texts[-1] > farm.budgets["hlsl"] << 10:
                farm.failures.append(f"the longest HLSL text has {texts[-1] >> 10} KB, the budget is {farm.budgets['hlsl']}")
        try:
            errors = farm.tint(folder, rows)
        except Unavailable as problem:
            farm.missing.append(f"Tint: {problem}")
            continue
        by_index = {row["index"]: row for row in rows}
        wide = [index for index in errors if by_index[index]["int64"]]
        for index in sorted(set(errors) - set(wide))[:20]:
            farm.failures.append(f"Tint refuses {kernel(by_index[index])} ({folder}/{index:05}.wgsl): {errors[index][:200]}")
        note = f"{len(wide)} load 64-bit integers, which WGSL does not have: Vulkan only" if wide else ""
        found.append((f"Tint ({tint_version}), {what}", len(rows), len(errors), note))
    return found


def spirv_of(farm, driver):
    count, broken = farm.spirv_val(driver)
    for rule, files in broken.items():
        if rule != ALLOWED_RULE:
            farm.failures.append(f"spirv-val: {len(files)} files, such as {files[0]}, break {rule}")
    allowed = len(broken.get(ALLOWED_RULE, []))
    others = sum(len(files) for rule, files in broken.items() if rule != ALLOWED_RULE)
    note = f"{allowed} break {ALLOWED_RULE} only, as programs of wgpu 30 do" if allowed else ""
    return (f"spirv-val, of {driver['suite']}, on the SPIR-V for {driver['name']}", count, others, note)


class Results:
    """What was found, one file for each part of the farm: a part can be run again alone."""

    def __init__(self):
        self.folder = CACHE / "results"
        self.folder.mkdir(parents=True, exist_ok=True)

    def store(self, part, found):
        text = json.dumps({"date": datetime.date.today().isoformat(), "found": found})
        (self.folder / f"{part}.json").write_text(text)

    def load(self, part):
        file = self.folder / f"{part}.json"
        return json.loads(file.read_text()) if file.exists() else None


def run_compiler(farm, driver):
    """Compiles on one driver. The head, the row of the table, the known failures that were seen, spirv-val."""
    say(f"{driver['name']} …")
    for one in farm.expected:
        one["seen"] = 0
    head, rows = farm.compile(driver)
    if head is None:
        farm.failures.append(f"{driver['name']} does not open: see {CACHE}/{slug(driver)}.stderr")
        return None
    row = judge(farm, driver, rows)
    say(
        f"    {row['variants']} variants, {row['refused']} refused, {row['default_spilling']} of "
        f"{row['default']} default kernels spill, fewest waves {row['waves']} of {row['most']}; {row['seconds']:.0f} s"
    )
    return {
        "head": head,
        "row": row,
        "seen": [one["seen"] for one in farm.expected],
        "spirv": spirv_of(farm, driver) if driver.get("spirv") else None,
    }


def tensors(file):
    """The numbers of a file of tensors in 32 bits."""
    bytes_ = file.read_bytes()
    numbers = array.array("f")
    numbers.frombytes(bytes_[8 + int.from_bytes(bytes_[:8], "little") :])
    return numbers


def distance(driver, other):
    """How far the weights of two drivers are from each other, as a part of their norm; 0 for equal bits."""
    files = [CACHE / "runs" / f"{slug(one)}-0/last.safetensors" for one in (driver, other)]
    if not all(file.exists() for file in files):
        return None
    own, theirs = map(tensors, files)
    apart = math.fsum((a - b) ** 2 for a, b in zip(own, theirs, strict=True))
    return math.sqrt(apart / math.fsum(b * b for b in theirs))


def run_driver(farm, driver):
    """Tests, a training and an evaluation on one driver that computes."""
    say(f"{driver['name']} …")
    passed, failed = farm.suite(driver)
    known = [one for one in farm.expected if one["what"] == "test" and one["driver"] in driver["name"]]
    for test in failed:
        if not any(re.search(one["kernel"], test) for one in known):
            farm.failures.append(f"{driver['name']}: {test} fails")
    for one in known:
        one["seen"] = sum(bool(re.search(one["kernel"], test)) for test in failed)
    trained, evaluated = farm.trained(driver), farm.evaluated(driver)
    if len(trained) == 2 and trained[0]["hash"] != trained[1]["hash"]:
        farm.failures.append(f"{driver['name']}: two equal trainings differ")
    if len(evaluated) == 2 and [evaluated[0][key] for key in ("wrong", "loss")] != [
        evaluated[1][key] for key in ("wrong", "loss")
    ]:
        farm.failures.append(f"{driver['name']}: two equal evaluations differ")
    first = next(one for one in farm.all_drivers if one.get("runs"))
    apart = distance(driver, first) if trained else None
    if apart is not None and apart > farm.budgets["apart"]:
        farm.failures.append(f"{driver['name']}: its weights differ from those of {first['name']} by {apart:.1e}")
    versions = farm.roots[driver["suite"]].versions()
    package = driver.get("package", "mesa-vulkan-drivers")
    say(f"    {passed} tests passed, {len(failed)} failed; {trained}; {evaluated}; distance {apart}")
    return {
        "driver": driver["name"],
        "version": f"{package} {versions[package]}",
        "passed": passed,
        "failed": failed,
        "trained": trained,
        "evaluated": evaluated,
        "apart": apart,
        "seen": [one.get("seen", 0) for one in farm.expected],
    }


# The first start of a driver.


def run_cold(farm, program):
    """What a start with empty caches costs on each lavapipe, and how fast it is afterwards.

    `program` is a release build of `residua`. Under twelve minutes on an idle machine of two cores.
    """
    drivers = farm.drivers
    rows = [{"driver": driver["name"], "speed": []} for driver in drivers]
    runs = {
        "resnet20": ["train", "--model", "resnet20", "--data", "synthetic", "--steps", "2", "--no-autotune"],
        "default": ["train"],
    }
    for what, words in runs.items():
        for driver, row in zip(drivers, rows):
            folder = CACHE / "runs" / f"{slug(driver)}-cold"
            shutil.rmtree(folder, ignore_errors=True)
            farm.forget(driver)
            load = os.getloadavg()[0]
            run = farm.program(driver, [*words, "--out", folder], program)
            if run:
                row[what] = {"seconds": run["seconds"], "cpu": run["cpu"], "load": load}
                say(f"    {driver['name']}, {what}: {run['seconds']:.0f} s, {run['cpu']:.0f} CPU s, load before {load:.1f}")
    words = ["bench", "--networks", "--models", "resnet20", "--batch-size", "32", "--quick", "--no-autotune", "--json"]
    for _ in range(2):
        for driver, row in zip(drivers, rows):
            run = farm.program(driver, words, program)
            if run:
                network = json.loads(run["text"])["networks"][0]
                row["speed"].append([network[f"{kind}_images_per_second"] for kind in ("training", "inference")])
                say(f"    {driver['name']}: {row['speed'][-1]} images/s, training and inference")
    versions = [farm.roots[driver["suite"]].versions()["mesa-vulkan-drivers"] for driver in drivers]
    for row, version in zip(rows, versions):
        row["version"] = version
    return {"rows": rows, "cores": os.cpu_count()}


def cold_table(stored):
    found = stored["found"]
    lines = [
        "",
        "## The first start",
        "",
        f"On {found['cores']} cores, in turn ({stored['date']}, `scripts/drivers.sh --cold target/release/residua`): with empty "
        "caches, two steps of ResNet-20, and `residua train` as `make train` runs it, from start to end; then the "
        "speed of ResNet-20 in batches of 32, the better of two. *Load*: of the machine, before the run; another program halves "
        "the speed of a core.",
        "",
        "| driver | Mesa | ResNet-20, s | CPU s | load | `train`, s | CPU s | load | training, images/s | inference, images/s |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        cells = [row["driver"], row["version"]]
        for what in ("resnet20", "default"):
            one = row.get(what)
            cells += [f"{one['seconds']:.0f}", f"{one['cpu']:.0f}", f"{one['load']:.1f}"] if one else [""] * 3
        speeds = [max(kind) for kind in zip(*row["speed"])]
        cells += [f"{speed:.0f}" for speed in speeds] or ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write_table(farm, results):
    """docs/drivers.md, from the newest result of each part."""
    compiled, executed, dates, seen = [], [], [], [0] * len(farm.expected)
    languages = results.load("languages") or {"found": [], "date": ""}
    rows = list(languages["found"])
    dates.append(languages["date"])
    for driver in farm.all_drivers:
        stored = results.load(slug(driver))
        if stored is None:
            farm.missing.append(driver["name"])
            continue
        dates.append(stored["date"])
        found = stored["found"]
        # A declaration that came later has not been seen yet.
        seen = [all + own for all, own in itertools.zip_longest(seen, found["seen"][: len(seen)], fillvalue=0)]
        if driver.get("runs"):
            executed.append(found)
            continue
        compiled.append((found["head"], found["row"]))
        rows += [found["spirv"]] if found["spirv"] else []
    for one, count in zip(farm.expected, seen):
        one["seen"] = count
    cold = results.load("cold")
    (TREE / "docs/drivers.md").write_text(table(farm, compiled, rows, executed, cold, sorted(filter(None, dates))))
    say("docs/drivers.md is written")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--short", action="store_true", help="three drivers, default kernels, Tint and spirv-val")
    options.add_argument("--update", action="store_true", help="fetch the mirror's newest packages")
    options.add_argument("--default", action="store_true", help="default kernels of five networks only, in the table too")
    options.add_argument("--cold", metavar="RESIDUA", help="only the first start of each lavapipe, with this program")
    options.add_argument("--only", metavar="TEXT", help="only drivers whose name contains this, or `languages`")
    options = options.parse_args()
    began = time.monotonic()
    farm = Farm(options.short)
    farm.default_only = options.short or options.default
    if options.cold:
        farm.drivers = [driver for driver in farm.drivers if driver["icd"] == "lvp"]
    if options.only:
        farm.drivers = [driver for driver in farm.drivers if options.only.lower() in driver["name"].lower()]
    try:
        farm.unpack(options.update)
    except Unavailable as problem:
        say(f"Drivers without hardware were not tested: {problem}")
        return 0
    results = Results()
    if options.cold:
        results.store("cold", run_cold(farm, Path(options.cold).resolve()))
    else:
        farm.build_programs()
    for driver in [] if options.cold else farm.drivers:
        if driver.get("runs"):
            found = run_driver(farm, driver)
        else:
            found = run_compiler(farm, driver)
            if found and found["spirv"]:
                name, count, bad, note = found["spirv"]
                say(f"{name}: {count} modules, {bad} refused; {note}")
        if found and not options.short:
            results.store(slug(driver), found)
    if options.only in (None, "languages") and not options.cold:
        languages = languages_of(farm)
        for name, count, bad, note in languages:
            say(f"{name}: {count} shaders, {bad} refused; {note}")
        if not options.short:
            results.store("languages", languages)
    if not options.short:
        write_table(farm, results)
    for line in farm.missing:
        say(f"not run: {line}")
    for line in farm.failures:
        say(f"FAILED: {line}")
    say(f"drivers: {len(farm.failures)} failures, {time.monotonic() - began:.0f} s")
    return 1 if farm.failures else 0


if __name__ == "__main__":
    sys.exit(main())
