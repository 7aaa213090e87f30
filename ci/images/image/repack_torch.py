#!/usr/bin/env python3
"""Repack PyPI's CUDA build of torch (x86-64) as a CPU wheel: repack_torch.py TORCH_WHEEL OUT_DIR [CLIENT_WHEEL...]

PyPI has no CPU build of torch for Linux; its CUDA build weighs 5 GB with the
libraries it pulls in and does not load without them. The wheel written here,
torch-X+cpu, differs in four points:

* the CUDA libraries (libtorch_cuda and its kin) are left out;
* every shared library that the remaining ones still name but that no machine
  without CUDA has (libtorch_cuda.so, libcudart, libcupti, libcudnn, ...) is
  replaced by a stub of that soname, compiled here by gcc, which defines exactly
  the symbols that torch and the client wheels (torchvision) import from it;
* the metadata say X+cpu and require neither nvidia-*, cuda-* nor triton;
* torch.version.cuda is None, as in an official CPU build.

A stub is there to be linked, not called: those of CUDA's runtime answer "no
device", and a function of libtorch_cuda that is reached all the same aborts
with its name. Needs gcc, nm, readelf and ldconfig.
"""

import base64
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

DROPPED = re.compile(r"torch/lib/(libtorch_cuda(_linalg)?|libtorch_nvshmem|libcaffe2_nvrtc)\.so$")
CUDA_REQUIREMENT = re.compile(r"(?m)^Requires-Dist: (nvidia-|cuda-|triton|pytorch-triton).*\n")
SYSTEM_LIBRARIES = (
    "libc.so.6 libm.so.6 libstdc++.so.6 libgcc_s.so.1 libdl.so.2 libpthread.so.0 librt.so.1 ld-linux-x86-64.so.2"
).split()
TORCH_CUDA = "libtorch_cuda.so"
CUDA_ERROR_NO_DEVICE = 100
STUB_ERROR = 15  # any code but 0, which every CUDA library reads as success

PRELUDE = """\
#include <stdio.h>
#include <stdlib.h>
"""
ABORT = """\
static void die(const char *name) { fprintf(stderr, "CUDA function called in a CPU build of torch: %s\\n", name); abort(); }
"""


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Library:
    """What one shared object defines, imports (as name or name@version) and needs."""

    def __init__(self, path):
        self.defined, self.imported = set(), set()
        for line in run("nm", "-D", str(path)).splitlines():
            kind, name = line.split()[-2:]
            if kind == "U":
                self.imported.add(name.replace("@@", "@"))
            elif kind not in "wv":  # a weak import may stay unresolved
                self.defined.add(name.partition("@")[0])
        self.needed = re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-d", str(path)))


def system_library_paths():
    paths = {}
    for line in run("/sbin/ldconfig", "-p").splitlines():
        found = re.match(r"\s+(\S+) \(libc6,x86-64.*=> (\S+)", line)
        if found:
            paths.setdefault(found[1], found[2])
    return [paths[name] for name in SYSTEM_LIBRARIES]


def extract_libraries(wheel, wanted, directory):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if wanted(name)]
        archive.extractall(directory, names)
    return [Path(directory, name) for name in names]


def client_imports(path, stubs):
    """CUDA symbols that a library of a client wheel takes from torch or from CUDA's runtime."""
    library = Library(path)
    if not {"libc10_cuda.so", TORCH_CUDA} & set(library.needed):
        return set()
    symbols = set()
    for symbol in library.imported:
        name, _, version = symbol.partition("@")
        is_cuda = version in stubs or (not version and re.match("_Z.*(cuda|CUDA|nccl|NCCL)", name))
        if is_cuda and name not in library.defined:
            symbols.add(symbol)
    return symbols


def missing_symbols(torch_wheel, client_wheels, directory):
    """Soname of each library that is missing -> the symbols wanted of it."""
    paths = extract_libraries(
        torch_wheel, lambda n: n.startswith("torch/lib/") and ".so" in n and not DROPPED.search(n), directory
    )
    present = {path.name for path in paths} | set(SYSTEM_LIBRARIES)
    defined, imported, stubs = set(), set(), set()
    for path in system_library_paths():
        defined |= Library(path).defined
    for path in paths:
        library = Library(path)
        defined |= library.defined
        imported |= library.imported
        stubs |= set(library.needed) - present
    for wheel in client_wheels:
        for path in extract_libraries(wheel, lambda n: n.endswith(".so"), Path(directory, "client")):
            imported |= client_imports(path, stubs)
    wanted = {soname: set() for soname in stubs}
    for symbol in imported:
        name, _, version = symbol.partition("@")
        from_interpreter = re.match("_?Py", name)
        if name not in defined and not from_interpreter:
            # CUDA's runtime versions its symbols by its soname; what has no version is torch's own.
            wanted[version if version in stubs else TORCH_CUDA].add(name)
    return wanted


def definition(soname, symbol, i):
    """C source that defines one symbol; i makes its C names unique."""
    label = f'__asm__("{symbol}")'
    if symbol.startswith("_ZTI"):  # a valid type_info: pybind11 reads the name while it registers classes
        return (
            'extern char class_type_info[] __asm__("_ZTVN10__cxxabiv117__class_type_infoE"); '
            f'struct {{ void *table; const char *name; }} d{i} {label} = {{ class_type_info + 16, "{symbol[4:]}" }};'
        )
    if symbol.startswith("_ZTS"):
        return f'char d{i}[] {label} = "{symbol[4:]}";'
    if re.match(r"_Z(TV|TT|GV)", symbol):
        return f"__attribute__((aligned(32))) char d{i}[4096] {label} = {{ 0 }};"
    if "get_gil_checker" in symbol:  # a static initialiser of libtorch_python calls it for a reference to a slot
        return f"static void *slot{i}[8]; void *f{i}(void) {label}; void *f{i}(void) {{ return slot{i}; }}"
    if symbol == "_ZN4c10d16ProcessGroupNCCL7OptionsC1Eb":
        # From torch 2.13 constructed once, as a default argument of pybind11, and never used:
        # it needs a table of virtual functions with a type_info, and nothing else.
        return (
            "static void nothing(void) {} "
            'extern char options_info[] __asm__("_ZTIN4c10d16ProcessGroupNCCL7OptionsE") __attribute__((weak)); '
            "static void *options_table[40] = { 0, options_info, " + ", ".join(["nothing"] * 38) + " }; "
            f"void *f{i}(void **self) {label}; "
            f"void *f{i}(void **self) {{ self[0] = options_table + 2; return self; }}"
        )
    if soname == TORCH_CUDA:
        return f'void f{i}(void) {label}; void f{i}(void) {{ die("{symbol}"); }}'
    if symbol in ("cudaGetErrorString", "cudaGetErrorName"):
        return f'const char *{symbol}(int error) {{ return "no CUDA in a CPU build of torch"; }}'
    code = CUDA_ERROR_NO_DEVICE if soname.startswith("libcudart") else STUB_ERROR
    return f"long {symbol}(void) {{ return {code}; }}"


def compile_stub(soname, symbols, directory):
    source, versions, library = (Path(directory, name) for name in ("stub.c", "stub.versions", soname))
    lines = [definition(soname, symbol, i) for i, symbol in enumerate(sorted(symbols))]
    source.write_text(PRELUDE + (ABORT if soname == TORCH_CUDA else "") + "\n".join(lines) + "\n")
    command = ["gcc", "-shared", "-fPIC", "-O1", "-w", f"-Wl,-soname,{soname}", "-o", str(library), str(source)]
    if soname == TORCH_CUDA:
        command.append("-l:libstdc++.so.6")
    else:
        versions.write_text(f"{soname} {{ global: *; }};\n")
        command.append(f"-Wl,--version-script={versions}")
    subprocess.run(command, check=True)
    return library


def without_cuda(name, content, version):
    """The content of a member of the wheel, with every mention of CUDA that pip or torch reads taken out."""
    if name.endswith(".dist-info/METADATA"):
        text = re.sub(r"(?m)^Version: .*$", f"Version: {version}+cpu", content.decode(), count=1)
        return CUDA_REQUIREMENT.sub("", text).encode()
    if name == "torch/version.py":
        text = re.sub(r"__version__ = '[^']*'", f"__version__ = '{version}+cpu'", content.decode())
        return re.sub(r"(?m)^cuda(: Optional\[str\])?( ?: ?[^=]*)? = .*$", "cuda = None", text).encode()
    return content


class WheelWriter:
    """Writes members and their RECORD; stored, not compressed: it is installed at once and deleted."""

    def __init__(self, path):
        self.archive = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self.record = []

    def add(self, name, content, executable):
        info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
        info.external_attr = (0o100755 if executable else 0o100644) << 16
        self.archive.writestr(info, content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        self.record.append(f"{name},sha256={digest},{len(content)}")

    def close(self, record_name):
        self.archive.writestr(record_name, "\n".join([*self.record, f"{record_name},,"]) + "\n")
        self.archive.close()


def repack(torch_wheel, out_dir, client_wheels):
    name = Path(torch_wheel).name
    # torch-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl; some releases have a build number.
    _, version, *_, python, abi, _ = name.removesuffix(".whl").split("-")
    target = Path(out_dir, f"torch-{version}+cpu-{python}-{abi}-linux_x86_64.whl")
    old_info, new_info = f"torch-{version}.dist-info/", f"torch-{version}+cpu.dist-info/"
    with tempfile.TemporaryDirectory(dir=out_dir) as directory, zipfile.ZipFile(torch_wheel) as source:
        wanted = missing_symbols(torch_wheel, client_wheels, directory)
        out = WheelWriter(target)
        for member in source.infolist():
            if member.is_dir() or DROPPED.search(member.filename) or member.filename == old_info + "RECORD":
                continue
            content = without_cuda(member.filename, source.read(member), version)
            out.add(member.filename.replace(old_info, new_info), content, (member.external_attr >> 16) & 0o100)
        for soname, symbols in sorted(wanted.items()):
            stub = compile_stub(soname, symbols, directory)
            out.add(f"torch/lib/{soname}", stub.read_bytes(), True)
        out.close(new_info + "RECORD")
    return target


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__.splitlines()[0])
    print(repack(sys.argv[1], sys.argv[2], sys.argv[3:]))
