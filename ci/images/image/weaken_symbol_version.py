#!/usr/bin/env python3
"""Let a library load where one symbol version is missing: weaken_symbol_version.py FILE VERSION

Marks the needed version (for instance GLIBCXX_3.4.32) as weak in the table of
needed versions (SHT_GNU_verneed, flag VER_FLG_WEAK), so that the dynamic loader
warns of nothing and goes on. That is sound only when nothing of that version is
used, so every symbol of it must be the one known marker without a relocation:
ios_base_library_init, by which newer libstdc++ headers merely ask for a new
enough library. Anything else is refused, and the file left as it was.
"""

import re
import struct
import subprocess
import sys
from pathlib import Path

SHT_GNU_VERNEED = 0x6FFFFFFE
VER_FLG_WEAK = 2
MARKER = "_ZSt21ios_base_library_initv"


def symbols_of_version(path, version):
    listing = subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=True).stdout
    return set(re.findall(rf"(\S+)@{re.escape(version)}$", listing, re.MULTILINE))


def needed_versions(elf):
    """(offset of its flags, name) of each version that a 64-bit little-endian ELF file needs."""
    table, entry_size, count = struct.unpack_from("<Q", elf, 0x28)[0], *struct.unpack_from("<HH", elf, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, table + i * entry_size) for i in range(count)]
    for section in (s for s in sections if s[1] == SHT_GNU_VERNEED):
        strings = sections[section[6]][4]
        need = section[4]
        while True:
            _, entries, _, first, next_need = struct.unpack_from("<HHIII", elf, need)
            entry = need + first
            for _ in range(entries):
                _, _, _, name, next_entry = struct.unpack_from("<IHHII", elf, entry)
                start = strings + name
                yield entry + 4, bytes(elf[start : elf.index(0, start)]).decode()
                entry += next_entry
            if not next_need:
                break
            need += next_need


def weaken(path, version):
    used = symbols_of_version(path, version) - {MARKER}
    if used:
        sys.exit(f"{path}: uses {', '.join(sorted(used))} of {version}: it cannot run without that version")
    elf = bytearray(Path(path).read_bytes())
    offsets = [offset for offset, name in needed_versions(elf) if name == version]
    if not offsets:
        sys.exit(f"{path}: does not need {version}: remove it from this row of versions.tsv")
    for offset in offsets:
        flags = struct.unpack_from("<H", elf, offset)[0]
        struct.pack_into("<H", elf, offset, flags | VER_FLG_WEAK)
    Path(path).write_bytes(elf)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    weaken(sys.argv[1], sys.argv[2])
