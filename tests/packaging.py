"""Checks what users install: the sdist builds, the wheel built from it works outside the checkout.

Run as a script: ``python tests/packaging.py``. The editable install is what all other tests use.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEN_OPS = """
func.func @main(%x: tensor<1x8xf32>) -> tensor<1x8xf32> {
  %y = nn.relu %x -> tensor<1x8xf32>
  func.return %y
}
"""


def run(*command: str | Path, cwd: Path, stdin: str | None = None) -> str:
    """The standard output of ``command``; ends the script with what it printed if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        # The wheel is made from the sdist, so that a file missing there shows.
        run(sys.executable, "-m", "build", "--outdir", work / "dist", ROOT, cwd=work)
        (wheel,) = (work / "dist").glob("*.whl")
        venv.create(work / "env", with_pip=True)
        binaries = work / "env" / "bin"
        run(binaries / "python", "-m", "pip", "install", "--quiet", wheel, cwd=work)
        run(binaries / "nvdla-opt", "--version", cwd=work)
        text = run(binaries / "nvdla-opt", "-", cwd=work, stdin=TEN_OPS)
        if "nn.relu %x" not in text:
            sys.exit(f"the installed nvdla-opt printed:\n{text}")
        digits = ROOT / "examples" / "digits"
        run(
            binaries / "nvdla-opt",
            f"--import-calib={digits / 'lenet.calib.json'}",
            "--quantize",
            "--compile=nv_small",
            digits / "lenet.ir",
            "-o",
            work / "lenet.csb.ir",
            cwd=work,
        )
        print(f"packaging: {wheel.name} installs and compiles lenet for nv_small")


if __name__ == "__main__":
    main()
