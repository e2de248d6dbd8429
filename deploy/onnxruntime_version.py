"""``onnxruntime_version.py FOLDER``: prints the version of the libonnxruntime.so in a folder."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path


def version(folder: Path) -> str:
    """Asks the library, because its file name need not have the version.

    Raises:
        OSError: There is no such library, or it does not load.
    """
    names = sorted(folder.glob("libonnxruntime.so*"))
    if not names:
        raise FileNotFoundError(f"{folder} has no libonnxruntime.so")
    library = ctypes.CDLL(str(names[0]))
    # struct OrtApiBase holds two pointers to functions: GetApi and GetVersionString.
    library.OrtGetApiBase.restype = ctypes.POINTER(ctypes.c_void_p * 2)
    address = library.OrtGetApiBase().contents[1]
    assert address
    return ctypes.CFUNCTYPE(ctypes.c_char_p)(address)().decode()


if __name__ == "__main__":
    print(version(Path(sys.argv[1])))
