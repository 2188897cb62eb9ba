"""What the oracle tests share: where the programs and the test tools are, and the device that
vn-embed runs on: VN_TEST_DEVICE, the CPU unless it is set (cuda: make check-oracle-gpu)."""
import os
import subprocess

import pytest

DEVICE = os.environ.get("VN_TEST_DEVICE", "cpu")
TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


@pytest.fixture(scope="session")
def vn():
    """Runs a program of vn: vn("vn-view", "--check", path, input=b"...", status=0)."""
    folder = os.environ.get("VN_BIN", os.path.join(TOP, "bin"))

    def run(program, *args, status=0, **more):
        done = subprocess.run([os.path.join(folder, program), *map(str, args)],
                              capture_output=True, check=False, **more)
        assert done.returncode == status, done.stderr.decode()
        return done

    return run


@pytest.fixture(scope="session")
def tool():
    """Runs a helper program of tests/ and returns what it prints."""
    folder = os.path.join(TOP, os.environ.get("B", "build/last"), "tests")

    def run(program, *args):
        return subprocess.run([os.path.join(folder, program), *map(str, args)], check=True,
                              capture_output=True).stdout

    return run
