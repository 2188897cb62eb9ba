"""launch.py FILE - CUDA C++ on standard output as C++ that the headers of this directory
compile: launches become calls of emu_launch_kernel, and variables in shared memory
references to parts of an emulated one. Lines stay where they are."""
import re
import sys


def closing(text, at, pair):
    """The place of the bracket that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == pair[0]) - (text[i] == pair[1])
        if not depth:
            return i
    raise SystemExit(f"launch.py: no '{pair[1]}' for '{text[at:at + 40]}'")


def opening(text, at):
    """The place of the '<' that opens what ends with the '>' at `at`."""
    depth = 0
    for i in range(at, -1, -1):
        depth += (text[i] == ">") - (text[i] == "<")
        if not depth:
            return i
    raise SystemExit("launch.py: no '<'")


def launches(text):
    while (at := text.find("<<<")) >= 0:
        end = len(text[:at].rstrip())
        begin = opening(text, end - 1) if text[end - 1] == ">" else end
        begin = re.search(r"\w+$", text[:begin]).start()
        kernel = text[begin:end]
        close = text.index(">>>", at)
        first = text.index("(", close)
        last = closing(text, first, "()")
        name = re.sub(r"\s+", " ", kernel)
        # one that is not named with its arguments gets them from the call
        address = f"(const void *){name}" if "<" in name else "NULL"
        args = text[first + 1:last]
        text = (text[:begin] + f"emu_launch_kernel(emu_config({text[at + 3:close]}), {address}, "
                f'"{name}", [](auto... x) {{ {name}(x...); }}' + (", " + args if args.strip() else "") +
                text[last:])
    return text


def shared(text):
    text = re.sub(r"extern __shared__ (?:__align__\(\d+\) )?(\w+) (\w+)\[\];",
                  r"\1 *const \2 = static_cast<\1 *>(emu_dynamic());", text)

    def static(match):
        kind, out = match[1], []
        for name, size in re.findall(r"(\w+)((?:\s*\[[^]]*\])+)", match[2]):
            out.append(f"typedef {kind} {name}_type{size}; {name}_type &{name} = "
                       f'*static_cast<{name}_type *>(emu_static("{name}", sizeof({name}_type)));')
        return " ".join(out) + "\n" * (match[0].count("\n") - " ".join(out).count("\n"))

    return re.sub(r"__shared__ (?:__align__\(\d+\) )?(\w+) ([^;]*);", static, text)


def main():
    path = sys.argv[1]
    with open(path, encoding="utf-8") as f:
        text = f.read()
    text = launches(shared(text))
    if "<<<" in text or "__shared__" in text:
        raise SystemExit(f"launch.py: '{path}': something is left")
    print(f'#line 1 "{path}"\n{text}', end="")


main()
