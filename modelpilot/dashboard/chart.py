"""Charts that the server draws: shapes for `templates/parts/chart.html` and `parts/bar.html`.

Here is geometry only. Colours are the stylesheet's, texts are HTML beside the SVG, so that a
chart stretches to any width while its letters don't. Each chart says in words what it shows, and
the template puts its figures into a table, for who doesn't see it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

# The drawing's own units: a column with its gap, its height, and the width of a lying bar.
STEP, WIDE = 10, 8
HEIGHT = 100
LENGTH = 1000
# As many as there are colours; the last is that of all the rest.
COLOURS = 5
REST = "others"

Number = int | float
Write = Callable[[Number], str]


@dataclass(frozen=True, slots=True)
class Series:
    """One number for each label, and of all together."""

    name: str
    values: Sequence[Number]

    @property
    def total(self) -> Number:
        return sum(self.values)


@dataclass(frozen=True, slots=True)
class Band:
    """A series as it is drawn: `path` is SVG's, `colour` from 1."""

    name: str
    colour: int
    path: str
    total: str


@dataclass(frozen=True, slots=True)
class Column:
    """What the pointer finds over a label, all of it in words."""

    x: int
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """A label and each series' number, in words."""

    label: str
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of stacked series; `top` is the number at the upper edge."""

    id: str
    title: str
    description: str
    width: int
    bands: list[Band]
    columns: list[Column]
    top: str
    first: str
    last: str
    rows: list[Row]

    @property
    def empty(self) -> bool:
        return not self.rows

    @property
    def colours(self) -> dict[str, int]:
        """By name, for a chart beside this one."""
        return {band.name: band.colour for band in self.bands}


def columns(
    id: str,  # noqa: A002 - the element's
    title: str,
    labels: Sequence[str],
    series: Iterable[Series],
    write: Write = str,
    colours: dict[str, int] | None = None,
) -> Columns:
    """A chart of at least one label; `write` says a number as people read it, `colours` are those
    that the same names have in a chart beside it."""
    shown = largest(series, colours)
    sums = [sum(values) for values in zip(*(each.values for each in shown), strict=True)]
    sums = sums or [0] * len(labels)
    top = ceiling(max(sums))
    floors: list[float] = [0.0] * len(labels)
    bands = []
    for number, each in enumerate(shown):
        path = "".join(
            block(place, floors[place] / top, value / top)
            for place, value in enumerate(each.values)
            if value
        )
        floors = [floor + value for floor, value in zip(floors, each.values, strict=True)]
        chosen = (colours or {}).get(each.name, number + 1)
        colour = COLOURS if each.name == REST else chosen
        bands.append(Band(each.name, colour, path, write(each.total)))
    tall = max(range(len(labels)), key=lambda place: sums[place])
    return Columns(
        id=id,
        title=title,
        description=(
            f"{labels[0]} to {labels[-1]}: {write(sum(sums))} in all, most on {labels[tall]} "
            f"({write(sums[tall])})."
            if any(sums)
            else f"{labels[0]} to {labels[-1]}: none."
        ),
        width=STEP * len(labels),
        bands=bands,
        columns=[
            Column(STEP * place, told(labels[place], shown, place, sums[place], write))
            for place in range(len(labels))
        ],
        top=write(top) if any(sums) else "",
        first=labels[0],
        last=labels[-1],
        rows=[
            Row(label, [write(each.values[place]) for each in shown])
            for place, label in enumerate(labels)
            if sums[place]
        ],
    )


def largest(series: Iterable[Series], colours: dict[str, int] | None = None) -> list[Series]:
    """The largest first, of which those beyond the colours, or without one, are one; none without
    anything."""
    ranked = sorted((each for each in series if each.total), key=lambda each: -each.total)
    if colours is not None:
        kept = [each for each in ranked if each.name in colours]
    else:
        kept = ranked if len(ranked) <= COLOURS else ranked[: COLOURS - 1]
    rest = [each.values for each in ranked if each not in kept]
    if not rest:
        return kept
    return [*kept, Series(REST, [sum(values) for values in zip(*rest, strict=True)])]


def ceiling(most: Number) -> Number:
    """The next number above that people count in: one digit, and zeros."""
    if most <= 0:
        return 1
    power = 10.0 ** math.floor(math.log10(most))
    steps = (power * digit for digit in (1, 2, 3, 4, 5, 6, 8, 10))
    found = next(step for step in steps if step >= most * (1 - 1e-9))
    return round(found) if found >= 1 else found


def block(place: int, floor: float, share: float) -> str:
    """A column's part, from `floor` on and `share` high, both of the whole height."""
    # What is there is seen: never thinner than a hair.
    height = max(0.6, share * HEIGHT)
    upper = HEIGHT - floor * HEIGHT - height
    return f"M{STEP * place + (STEP - WIDE) // 2} {plain(upper)}h{WIDE}v{plain(height)}h-{WIDE}z"


def plain(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def told(label: str, series: Sequence[Series], place: int, total: Number, write: Write) -> str:
    parts = [f"{each.name} {write(each.values[place])}" for each in series if each.values[place]]
    return f"{label}: {', '.join(parts)}" if len(parts) == 1 else said(label, parts, write(total))


def said(label: str, parts: list[str], total: str) -> str:
    return f"{label}: {total}" + (f" ({', '.join(parts)})" if parts else "")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a lying bar, in units of LENGTH."""

    name: str
    colour: int
    x: int
    width: int
    text: str


def parts(named: Iterable[tuple[str, float]], write: Write, whole: float = 0.0) -> list[Part]:
    """Durations or the like one behind the other, of `whole` or of all that they come to."""
    given = list(named)
    whole = whole or sum(value for _, value in given) or 1.0
    found, x = [], 0.0
    for number, (name, value) in enumerate(given):
        width = value / whole * LENGTH
        # Too short to see is drawn all the same.
        found.append(Part(name, number + 1, round(x), max(3, round(width)), write(value)))
        x += width
    return found
