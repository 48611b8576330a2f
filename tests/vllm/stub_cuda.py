#!/usr/bin/env python3
"""Let the CUDA build of torch be imported on a machine without CUDA.

torch's shared objects name the CUDA libraries as needed, so the loader wants them even where no GPU is.  For each of
them this writes a small library of the same name beside torch's own, which is where the loader looks first.  It
defines the symbols that torch imports; each function answers 100, `cudaErrorNoDevice`.  Work on a CPU never calls one.

Run by the Python whose torch is meant.  Needs gcc and readelf.
"""

import collections
import importlib.util
import pathlib
import re
import subprocess
import tempfile

CUDA_LIBRARY = re.compile(
    r"lib(cuda|cudart|cublas|cublasLt|cudnn|cufft|cufile|curand|cusolver|cusparse|cusparseLt|nccl|nvrtc|nvshmem_host"
    r"|cupti|nvJitLink|nvToolsExt)\.so\.\d+"
)
CUDA_SYMBOL = re.compile(r"cu[a-zA-Z]|nccl|nvrtc|nvshmem|nvtx|__cuda")
RETURNS_TEXT = re.compile(r"(Error(String|Name)|StatusName|StatusString|GetLastErrorString)$")

# Only caffe2_nvrtc needs the driver, and that is loaded when a GPU is used.
NOT_STUBBED = {"libcuda.so.1"}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed_libraries(shared_object):
    return set(re.findall(r"\(NEEDED\).*\[(.+?)\]", run("readelf", "-d", shared_object)))


def libraries_by_version(shared_object):
    """Which library each symbol version is wanted from."""
    libraries, library = {}, None
    for line in run("readelf", "-W", "-V", shared_object).splitlines():
        if file := re.search(r"File: (\S+)", line):
            library = file.group(1)
        if (version := re.search(r"Name: (\S+)\s+Flags", line)) and library:
            libraries[version.group(1)] = library
    return libraries


def dynamic_symbols(shared_object):
    """Each dynamic symbol as name, version and whether it is defined; weak ones that are not defined are left out."""
    for line in run("readelf", "-W", "--dyn-syms", shared_object).splitlines():
        fields = line.split()
        if len(fields) < 8 or not fields[0].rstrip(":").isdigit():
            continue
        bind, section, (name, _, version) = fields[4], fields[6], fields[7].partition("@")
        is_defined = section != "UND"
        if is_defined or bind != "WEAK":
            yield name, version.lstrip("@"), is_defined


def wanted_symbols(shared_objects):
    """The symbols to define, as (name, version), by library."""
    wanted, unversioned, defined = collections.defaultdict(set), set(), set()
    for shared_object in shared_objects:
        libraries = libraries_by_version(shared_object)
        for name, version, is_defined in dynamic_symbols(shared_object):
            if is_defined:
                defined.add(name)
            elif not version:
                unversioned.add(name)
            elif CUDA_LIBRARY.fullmatch(libraries.get(version, "")):
                wanted[libraries[version]].add((name, version))
    # The loader finds a symbol without a version in any library, so one of them defines them all.
    defined |= {name for symbols in wanted.values() for name, _ in symbols}
    wanted[""] = {(name, "") for name in unversioned - defined if CUDA_SYMBOL.match(name)}
    return wanted


def c_source(symbols):
    # Static constructors register kernels, so nothing may abort.
    for name in sorted({name for name, _ in symbols}):
        if RETURNS_TEXT.search(name):
            yield f'const char *{name}(void) {{ return "no CUDA here"; }}\n'
        else:
            yield f"long {name}(void) {{ return 100; }}\n"


def version_script(symbols):
    names = collections.defaultdict(list)
    for name, version in sorted(symbols):
        names[version].append(name)
    for version in sorted(names.keys() - {""}):
        yield f"{version} {{ global: {' '.join(f'{name};' for name in names[version])} }};\n"


def write_library(path, symbols):
    with tempfile.TemporaryDirectory() as directory:
        source = pathlib.Path(directory, "stub.c")
        script = pathlib.Path(directory, "stub.map")
        source.write_text("".join(c_source(symbols)))
        script.write_text("".join(version_script(symbols)))
        command = ["gcc", "-shared", "-fPIC", "-fno-builtin", "-w", "-o", path, source, f"-Wl,-soname,{path.name}"]
        if script.stat().st_size:
            command.append(f"-Wl,--version-script={script}")
        path.unlink(missing_ok=True)
        run(*command)


def main():
    torch = pathlib.Path(importlib.util.find_spec("torch").origin).parent
    libraries = torch / "lib"
    shared_objects = sorted(path for path in libraries.glob("*.so*") if not CUDA_LIBRARY.fullmatch(path.name))
    needed = set().union(*map(needed_libraries, shared_objects))
    wanted = wanted_symbols(shared_objects)
    stubs = sorted(name for name in needed - NOT_STUBBED if CUDA_LIBRARY.fullmatch(name))
    for name in stubs:
        symbols = wanted[name] | (wanted[""] if name.startswith("libcudart.") else set())
        write_library(libraries / name, symbols)
    print(f"{len(stubs)} CUDA libraries stubbed in {libraries}")


main()
