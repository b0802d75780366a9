"""Compiles kernel.cc once for each kind of processor, against the headers that ship with jaxlib."""

import json
import os
import platform
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import jax.ffi
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path(__file__).parent / "src" / "stablestep_native"
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-shared",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-funroll-loops",
]
X86 = {"v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"], "v3": ["-march=x86-64-v3"]}


class Build(BuildHookInterface):
    """The hook that hatchling calls before it packs a wheel."""

    def initialize(self, version, build_data):
        sys.path.insert(0, str(PACKAGE.parent))
        from stablestep_native.interface import interface

        kinds = {"portable": [], **(X86 if platform.machine().lower() in ("x86_64", "amd64") else {})}
        for kind, flags in kinds.items():
            self._compile(kind, flags)
        (PACKAGE / "builds.json").write_text(json.dumps({"interface": interface(), "kinds": list(kinds)}) + "\n")
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data |= {"pure_python": False, "tag": f"py3-none-{tag}"}

    def _compile(self, kind, flags):
        compiler = shlex.split(os.environ.get("CXX", "c++"))
        command = [*compiler, *FLAGS, *flags, f"-I{jax.ffi.include_dir()}", str(PACKAGE / "kernel.cc")]
        try:
            subprocess.run([*command, "-o", str(PACKAGE / f"{kind}.so")], check=True)
        except FileNotFoundError:
            sys.exit(f'there is no compiler "{compiler[0]}"; install g++, or name another one with CXX=…')
