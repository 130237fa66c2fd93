"""Which files does a driver need, and where do they come from?

Debian packages and everything that they need, unpacked in a folder of their own: a
"root" with its own dynamic linker and C library. A program runs with the drivers of
a root without a container and without rights:

    ROOT/…/ld-linux-x86-64.so.2 --library-path ROOT/… [--preload SHIM] PROGRAM …

Nothing outside the folder is changed, and every x86-64 Linux can be the host. Only
Python's standard library and `tar` are used.
"""

import hashlib
import lzma
import os
import platform
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

MIRROR = os.environ.get("RESIDUA_DEBIAN_MIRROR", "https://deb.debian.org/debian")
# Packages of which one library is wanted: they bring no other packages, and of their
# files only these.
IN_PART = {"chromium-common": ["./usr/lib/chromium/libvk_swiftshader.so", "./usr/lib/chromium/vk_swiftshader_icd.json"]}
# Packages that drivers name and do not need to run.
NOT_NEEDED = {"python3", "python3-minimal", "debconf", "libc-bin", "media-types", "base-files", "dpkg", "usr-is-merged"}
# Seconds until a server counts as absent.
PATIENCE = 20


class Unavailable(Exception):
    """What is missing, in one line."""


def fetch(address, goal, sha256=None):
    """The file at `address` as `goal`, once it is complete and its hash is right."""
    part = goal.with_name(goal.name + ".part")
    goal.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer, part.open("wb") as file:
            while block := answer.read(1 << 20):
                digest.update(block)
                file.write(block)
    except (OSError, urllib.error.URLError) as error:
        raise Unavailable(f"{address}: {error}") from error
    if sha256 and digest.hexdigest() != sha256:
        part.unlink()
        raise Unavailable(f"{address}: its SHA-256 is {digest.hexdigest()}, the list says {sha256}")
    part.rename(goal)


def read_index(suite):
    """The packages of a suite by name, each with its fields; also by what they provide."""
    address = f"{MIRROR}/dists/{suite}/main/binary-amd64/Packages.xz"
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            text = lzma.decompress(answer.read()).decode()
    except (OSError, urllib.error.URLError) as error:
        raise Unavailable(f"{address}: {error}") from error
    packages, provided = {}, {}
    for stanza in text.split("\n\n"):
        lines = [line for line in stanza.splitlines() if line[:1] not in ("", " ")]
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        if "Package" not in fields:
            continue
        packages[fields["Package"]] = fields
        for name in names_of(fields.get("Provides", "")):
            provided.setdefault(name, fields)
    return {**provided, **packages}


def names_of(depends):
    """The first choice of each dependency, without version and architecture."""
    for clause in filter(None, (part.strip() for part in depends.split(","))):
        yield clause.split("|")[0].split()[0].split(":")[0]


def needed(index, wanted):
    """The packages `wanted` and all that they need."""
    found, open_names = {}, list(wanted)
    while open_names:
        name = open_names.pop()
        if name in NOT_NEEDED or name in found:
            continue
        if name not in index:
            raise Unavailable(f"the mirror has no package {name}")
        package = index[name]
        found[name] = package
        if name not in IN_PART:
            open_names += [*names_of(package.get("Depends", "")), *names_of(package.get("Pre-Depends", ""))]
    return {package["Package"]: package for package in found.values()}


def unpack(package, root, only=()):
    """Unpacks the data of a .deb file, or the files `only` of it."""
    with package.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise Unavailable(f"{package} is no Debian package")
        while header := file.read(60):
            name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
            if not name.startswith("data.tar"):
                file.seek(size + size % 2, os.SEEK_CUR)
                continue
            packing = {".xz": "-J", ".zst": "--zstd", ".gz": "-z"}[Path(name).suffix]
            command = ["tar", "-x", packing, "-C", str(root), "--no-same-owner", *only]
            subprocess.run(command, input=file.read(size), check=True)
            return
    raise Unavailable(f"{package} has no data")


class Root:
    """The unpacked packages of one suite."""

    def __init__(self, cache, suite):
        self.suite = suite
        self.path = cache / suite
        self.state = self.path / "packages.txt"

    def versions(self):
        """The version of each package."""
        return dict(line.split() for line in self.state.read_text().splitlines())

    def has(self, wanted):
        return self.state.exists() and set(wanted) <= set(self.versions())

    def install(self, wanted, may_fetch=True, update=False):
        """Unpacks `wanted` and all that they need, unless they are here already.

        Packages that are here stay as they are, unless all are to be the newest.
        """
        if self.has(wanted) and not update:
            return
        if platform.machine() != "x86_64" or platform.system() != "Linux":
            raise Unavailable("the drivers are those of x86-64 Linux")
        if not may_fetch:
            raise Unavailable(f"no drivers in {self.path.parent}; `make drivers` fetches them")
        here = {} if update or not self.state.exists() else self.versions()
        packages = needed(read_index(self.suite), wanted)
        missing = {name: package for name, package in packages.items() if name not in here}
        megabytes = sum(int(package["Size"]) for package in missing.values()) >> 20
        print(f"{self.suite}: {len(missing)} packages, {megabytes} MB", file=sys.stderr, flush=True)
        goal = self.path if here else self.path.with_name(self.path.name + ".new")
        if not here:
            shutil.rmtree(goal, ignore_errors=True)
            goal.mkdir(parents=True)
        for name, package in missing.items():
            file = goal / "package.deb"
            fetch(f"{MIRROR}/{package['Filename']}", file, package["SHA256"])
            unpack(file, goal, IN_PART.get(name, ()))
            file.unlink()
        versions = {**here, **{name: package["Version"] for name, package in missing.items()}}
        (goal / self.state.name).write_text("".join(f"{name} {versions[name]}\n" for name in sorted(versions)))
        if not here:
            shutil.rmtree(self.path, ignore_errors=True)
            goal.rename(self.path)

    def folders(self):
        """Where its libraries are."""
        parts = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
        return [self.path / part for part in parts if (self.path / part).is_dir()]

    def find(self, name):
        """The file `name` among its libraries."""
        for folder in self.folders():
            if (folder / name).exists():
                return folder / name
        raise Unavailable(f"{self.suite} has no {name}")

    def command(self, preload=()):
        """What stands before a program's name, so that it runs with this root's libraries."""
        path = ":".join(map(str, self.folders()))
        shims = [word for name in preload for word in ("--preload", str(self.find(name)))]
        return [str(self.find("ld-linux-x86-64.so.2")), "--library-path", path, *shims]
