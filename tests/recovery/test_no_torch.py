"""The room works where torch is not installed."""

import subprocess
import sys

CODE = """
import pkgutil, sys
sys.modules["torch"] = None  # an import of it is an error from here on
import heed.recovery
for module in pkgutil.iter_modules(heed.recovery.__path__):
    __import__(f"heed.recovery.{module.name}")
print(len(list(pkgutil.iter_modules(heed.recovery.__path__))))
"""


def test_recovery_needs_no_torch():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 8
