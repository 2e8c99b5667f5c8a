#!/usr/bin/env python3
"""Lists each import that runs up between the rooms of core, or in a circle between those of worker; `make lint` wants none.

A room is a module at the top of a crate, such as `core/src/runs/` or `core/src/mail.rs`. The table "Inside `core/src`" of
ARCHITECTURE.md is their order, the lowest first: a room may use what comes before it in that table, and nothing that comes
after it. worker has no such table: its rooms may use each other as long as no circle comes of it.

Every path in the code counts, that of tests too: `use` declarations with all their branches, and paths in place, whether
they start at `crate` or climb by `super`. What `lib.rs` passes on counts as the room that it comes from. Comments and texts
are no code.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<comment>/\*)
    |(?P<raw>\b(?:b|c)?r(?P<hashes>\#*)".*?"(?P=hashes))
    |(?P<text>(?:\b[bc])?"(?:\\.|[^"\\])*")
    |(?P<char>(?:\bb)?'(?:\\(?:x..|u\{[^}]*\}|.)|[^'\\])')
    |(?P<lifetime>'\w+)
    |(?P<word>(?:r\#)?[A-Za-z_]\w*)
    |(?P<mark>::|.)""",
    re.VERBOSE | re.DOTALL,
)


def read_tokens(path):
    """The words and marks of a Rust file, each with its line."""
    text = path.read_text(encoding="utf-8")
    tokens, at, line = [], 0, 1
    while at < len(text):
        match = TOKEN.match(text, at)
        end = match.end()
        if match["comment"]:
            depth = 1
            while depth:
                mark = re.compile(r"/\*|\*/").search(text, end)
                depth, end = depth + (1 if mark[0] == "/*" else -1), mark.end()
        elif match["word"] or match["mark"]:
            tokens.append((match[0].removeprefix("r#"), line))
        line += text.count("\n", at, end)
        at = end
    return [*tokens, ("", line), ("", line), ("", line)]


def read_branches(tokens, at):
    """Every path from a token on, as its words, the name that it gets and its line; more than one where braces open. And
    where they end."""
    words, line = [], tokens[at][1]
    while True:
        word = tokens[at][0]
        if word == "{":
            branches, at = [], at + 1
            while tokens[at][0] != "}":
                inner, at = read_branches(tokens, at)
                branches += [(words + rest, name, line) for rest, name, line in inner]
                at += tokens[at][0] == ","
            return branches, at + 1
        words.append(word)
        line = tokens[at][1]
        if tokens[at + 1][0] == "::" and re.match(r"[\w{*]", tokens[at + 2][0]):
            at += 2
        elif tokens[at + 1][0] == "as":
            return [(words, tokens[at + 2][0], line)], at + 3
        else:
            return [(words, word, line)], at + 1


def read_paths(path, source):
    """Every path of a file that leads to the root of its crate, as the words below the root, the name it gets and its
    line."""
    parts = path.relative_to(source).with_suffix("").parts
    module = [part for part in parts if part not in ("mod", "lib")]
    tokens = read_tokens(path)
    at, depth, inner = 0, 0, []
    while tokens[at][0]:
        before, (word, _), after = tokens[at - 1][0], tokens[at], tokens[at + 1][0]
        if word == "mod" and tokens[at + 2][0] == "{":
            inner.append((depth, after))
        elif word == "{":
            depth += 1
        elif word == "}":
            depth -= 1
            if inner and inner[-1][0] == depth:
                inner.pop()
        here = module + [name for _, name in inner]
        # `impl Trait + use<…>` is no declaration, and `pub(in …)` no use.
        is_use = word == "use" and after not in ("<", "::")
        is_path = word in ("crate", "super", "self") and after == "::" and before not in ("::", "in")
        if not is_use and not is_path:
            at += 1
            continue
        branches, at = read_branches(tokens, at + is_use)
        for words, name, line in branches:
            if words[0] == "crate":
                yield words[1:], name, line
            elif words[0] in ("super", "self"):
                rest = words[1:] if words[0] == "self" else words
                base = list(here)
                while rest and rest[0] == "super":
                    base, rest = base[:-1], rest[1:]
                yield base + rest, name, line
            elif not here:
                # At the root, a room needs no `crate` before it.
                yield words, name, line


def read_imports(source):
    """The rooms of a crate, and every use of another room: who, of whom, file and line, and the path."""
    rooms = {entry.name.removesuffix(".rs") for entry in source.iterdir()} - {"lib", "main", "bin"}
    # What the root passes on, by name: from which room, or none for another crate.
    passed_on = {}
    for words, name, _ in read_paths(source / "lib.rs", source):
        passed_on[name] = words[0] if words[0] in rooms else None
    imports = []
    for path in sorted(source.rglob("*.rs")):
        user = path.relative_to(source).parts[0].removesuffix(".rs")
        if user not in rooms:
            continue
        for words, _, line in read_paths(path, source):
            first = words[0] if words else ""
            # What is neither a room nor passed on is the root's own: no room may rest on what rests on all of them.
            used = first if first in rooms else passed_on.get(first, "lib")
            if used is not None and used != user:
                imports.append((user, used, f"{path.relative_to(ROOT)}:{line}", "::".join(words)))
    return rooms, imports


def read_order():
    """The rooms of core, the lowest first, as ARCHITECTURE.md lists them."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.partition("\nInside `core/src`")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name.removesuffix("/").removesuffix(".rs") for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def reaches(uses, start, goal):
    """Whether one room rests on another, by itself or through others."""
    seen, left = set(), [start]
    while left:
        room = left.pop()
        if room == goal:
            return True
        if room not in seen:
            seen.add(room)
            left += uses.get(room, ())
    return False


def main():
    order = read_order()
    rooms, imports = read_imports(ROOT / "core/src")
    for name in sorted(rooms.symmetric_difference(order) | {name for name in order if order.count(name) > 1}):
        sys.exit(f"lint-rooms: the room `{name}` of core must stand once in the table of ARCHITECTURE.md, and be there")
    place = {room: at for at, room in enumerate([*order, "lib"])}
    wrong = [
        f"{where}: {user} uses {used}, which comes after it ({path})"
        for user, used, where, path in imports
        if place[used] > place[user]
    ]

    _, imports = read_imports(ROOT / "worker/src")
    uses = {}
    for user, used, _, _ in imports:
        uses.setdefault(user, set()).add(used)
    wrong += [
        f"{where}: {user} uses {used}, which rests on it ({path})"
        for user, used, where, path in imports
        if used == "lib" or reaches(uses, used, user)
    ]

    for line in wrong:
        print(line)
    print(f"lint-rooms: {len(wrong)} imports run up or in a circle between the rooms of core and worker", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
