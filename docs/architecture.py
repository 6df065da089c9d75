"""The part of docs/architecture.md that comes from the code: who imports whom, and what each room is for.

    python docs/architecture.py        # writes it anew, between the two markers of the page

A floor is a package of `motley`, a room is a package or a file directly in a floor. What a room is for is the first
paragraph of its docstring.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- made by docs/architecture.py -->", "<!-- to here -->"
IN_ROOMS = ("console", "remote", "trainer")  # `profiles` is flat: one room
MOST_NAMED = 3  # rooms of another floor on an arrow; beyond, it is open to all

Graph = Mapping[str, frozenset[str]]


def imports(graph: grimp.ImportGraph, package: str) -> Graph:
    """Which of the children of `package` import which others of them, themselves or anything in them."""
    names = sorted(child.rpartition(".")[2] for child in graph.find_children(package))
    return {
        one: frozenset(
            other
            for other in names
            if other != one
            and graph.direct_import_exists(importer=f"{package}.{one}", imported=f"{package}.{other}", as_packages=True)
        )
        for one in names
    }


def reach(graph: Graph, start: str) -> frozenset[str]:
    """All that `start` imports, itself or by way of others. Of a graph without circles."""
    return frozenset(graph[start].union(*(reach(graph, one) for one in graph[start])))


def reduced(graph: Graph) -> dict[str, list[str]]:
    """The arrows from which all others follow: the transitive reduction of a graph without circles.

    >>> reduced({"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset()})
    {'a': ['b'], 'b': ['c'], 'c': []}
    """
    return {
        one: sorted(below - frozenset().union(*(reach(graph, other) for other in below)))
        for one, below in graph.items()
    }


def from_the_top(graph: Graph) -> list[str]:
    """Each name before all that it imports, and otherwise by how much hangs on it: the order of the tables."""
    return sorted(graph, key=lambda one: (-len(reach(graph, one)), one))


def entered(graph: grimp.ImportGraph, above: str, below: str) -> list[str]:
    """The rooms of the floor `below` that the floor `above` imports from."""
    rooms = graph.find_children(f"motley.{below}")
    return sorted(
        room.rpartition(".")[2]
        for room in rooms
        if graph.direct_import_exists(importer=f"motley.{above}", imported=room, as_packages=True)
    )


def picture(lines: Iterator[str]) -> list[str]:
    return ["```mermaid", "flowchart TD", *(f"    {line}" for line in lines), "```"]


def of_floors(graph: grimp.ImportGraph) -> Iterator[str]:
    floors = imports(graph, "motley")
    for above in from_the_top(floors):
        for below in sorted(floors[above]):
            rooms = entered(graph, above, below) if below in IN_ROOMS else []
            named = f"|{', '.join(rooms)}|" if 0 < len(rooms) <= MOST_NAMED else ""
            yield f"{above} -->{named} {below}"


def of_rooms(rooms: Graph) -> Iterator[str]:
    arrows = reduced(rooms)
    drawn = {*(one for one in arrows if arrows[one]), *(other for below in arrows.values() for other in below)}
    for one in from_the_top(rooms):
        yield from (f"{one} --> {other}" for other in arrows[one])
        if one not in drawn:
            yield one


def purpose(path: Path) -> str:
    """The first paragraph of the docstring, in one line. `path` is a package's folder, or a module's file."""
    file = path / "__init__.py" if path.is_dir() else path
    words = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return " ".join(words.partition("\n\n")[0].split()).replace("|", "\\|")


def place(floor: str, room: str) -> Path:
    folder = ROOT / floor / room
    return folder if folder.is_dir() else folder.with_suffix(".py")


def made() -> str:
    """What stands between the markers."""
    graph = grimp.build_graph("motley", cache_dir=None)
    floors = from_the_top(imports(graph, "motley"))
    lines = ["## Floors", "", *picture(of_floors(graph)), "", "| floor | is |", "|---|---|"]
    lines += [f"| [`{floor}`](../{floor}) | {purpose(ROOT / floor)} |" for floor in floors]
    for floor in IN_ROOMS:
        rooms = imports(graph, f"motley.{floor}")
        lines += ["", f"## Rooms of `{floor}`", "", *picture(of_rooms(rooms)), "", "| room | is |", "|---|---|"]
        for room in from_the_top(rooms):
            path = place(floor, room)
            lines.append(f"| [`{room}`](../{path.relative_to(ROOT)}) | {purpose(path)} |")
    return "\n".join(lines)


def page(before: str) -> str:
    """The page with its made part anew. Raises ValueError when it has not both markers."""
    head, begin, rest = before.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE.name} needs the lines {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{made()}\n\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
