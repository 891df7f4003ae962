#!/usr/bin/env python3
"""Make the world map of `pcc_admin.py report --html` from Natural Earth's countries.

    build_map.py [--output FILE] [WORLD-ATLAS.tgz ISO-COUNTRIES.tgz]

The arguments are the npm packages world-atlas and i18n-iso-countries, as `npm pack` leaves them;
without them they are fetched by `npm pack`.  The script writes one JSON file.  It has `width` and
`height` in units of the map, `names` for all codes, and `shapes`, an SVG path for each ISO code
that the small scale (1:110m) has.  `borders` has the codes of the neighbours over land, by the
large scale.  The projection is Equal Earth (Savric, Patterson and Jenny, 2018): shading an area by
a number is fair only where areas are true.  Antarctica, which sends no mail worth a fifth of the
picture, is left out.  The same packages give the same bytes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ATLAS = "world-atlas@2.0.2"
ISO = "i18n-iso-countries@7.14.0"
OUTPUT = Path(__file__).resolve().parent / "world-map.json"
WIDTH = 2000
MERIDIAN = 11
"""Degrees east in the middle of the map: the other side, where it is cut, meets hardly any land."""

CODES_BY_NAME = {"Kosovo": "XK", "N. Cyprus": "CY", "Somaliland": "SO"}
"""Shapes without a number in ISO 3166: the code that country databases have for what lies there."""

OVERSEAS = {"FR": ("GF", (-60, 0, -40, 10)), "NO": ("SJ", (0, 74, 40, 85))}
"""Territories with a code of their own that are drawn with another country, and their west, south,
east and north."""

NAMES = """
    AG Antigua and Barbuda; AU Australia; BA Bosnia and Herzegovina; BQ Caribbean Netherlands;
    BV Bouvet Island; CC Cocos Islands; CD Congo (Kinshasa); CF Central African Republic;
    CG Congo (Brazzaville); CK Cook Islands; CX Christmas Island; DO Dominican Republic;
    EH Western Sahara; FK Falkland Islands; FO Faroe Islands; GF French Guiana; GP Guadeloupe;
    GQ Equatorial Guinea; GS South Georgia; HM Heard and McDonald Islands;
    IO British Indian Ocean Territory; KN Saint Kitts and Nevis; KY Cayman Islands;
    MF Saint Martin; MH Marshall Islands; MK North Macedonia; MP Northern Mariana Islands;
    MQ Martinique; BL Saint Barthélemy; PF French Polynesia; PM Saint Pierre and Miquelon;
    PN Pitcairn Islands; RE Réunion; SB Solomon Islands; SJ Svalbard and Jan Mayen; SS South Sudan;
    ST São Tomé and Príncipe; SZ Eswatini; TC Turks and Caicos Islands; TF French Southern Lands;
    TK Tokelau; TR Türkiye; UM U.S. Outlying Islands; US United States;
    VC Saint Vincent and the Grenadines; VI U.S. Virgin Islands; WF Wallis and Futuna; XK Kosovo;
    YT Mayotte
"""
"""Where Natural Earth abbreviates, or has no name or an old one."""

Point = tuple[float, float]
Ring = list[tuple[int, int]]


def main() -> int:
    """Make the file, and say how large it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("packages", nargs="*", type=Path, metavar="PACKAGE.tgz")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        atlas, iso = options.packages or [fetch(name, folder) for name in (ATLAS, ISO)]
        codes = {number: code for code, _, number, *_ in member(iso, "codes.json")}
        small = member(atlas, "countries-110m.json")
        large = member(atlas, "countries-10m.json")
    shapes, height = paths(small, codes)
    data = {
        "width": WIDTH,
        "height": height,
        "shapes": shapes,
        "names": names(large, codes),
        "borders": borders(large, codes),
    }
    write(options.output, json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{options.output}: {len(shapes)} shapes, {options.output.stat().st_size} bytes")
    return 0


def fetch(package: str, folder: str) -> Path:
    """Return a package of npm, fetched into `folder`."""
    done = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.PIPE
    )
    return Path(folder) / done.stdout.decode().split()[-1]


def member(package: Path, name: str) -> Any:
    """Return a JSON file of a package."""
    with tarfile.open(package) as archive:
        file = archive.extractfile(f"package/{name}")
        assert file is not None
        return json.load(file)


def names(topology: Any, codes: dict[str, str]) -> dict[str, str]:
    """Return the name of each code."""
    shapes = shapes_of(topology)
    found = {codes.get(shape.get("id")): shape["properties"]["name"] for shape in shapes}
    entries = (entry.strip().partition(" ") for entry in NAMES.split(";"))
    found |= {code: " ".join(name.split()) for code, _, name in entries}
    missing = {*codes.values(), "XK"} - found.keys()
    assert not missing, missing
    return {code: found[code] for code in sorted(code for code in found if code)}


def borders(topology: Any, codes: dict[str, str]) -> dict[str, str]:
    """Return the neighbours of each code that has any, separated by blanks.

    Neighbours share an arc.
    """
    sharing: dict[int, set[str]] = {}
    for shape in shapes_of(topology):
        code = codes.get(shape.get("id")) or CODES_BY_NAME.get(shape["properties"]["name"])
        for ring in rings_of(shape) if code else ():
            whose = owner(code or "", points_of(topology, ring))
            for arc in ring:
                sharing.setdefault(arc if arc >= 0 else ~arc, set()).add(whose)
    found: dict[str, set[str]] = {}
    for neighbours in sharing.values():
        for code in neighbours:
            found.setdefault(code, set()).update(neighbours - {code})
    return {code: " ".join(sorted(found[code])) for code in sorted(found) if found[code]}


def shapes_of(topology: Any) -> list[Any]:
    """Return the countries of a topology."""
    countries: list[Any] = topology["objects"]["countries"]["geometries"]
    return countries


def paths(topology: Any, codes: dict[str, str]) -> tuple[dict[str, str], int]:
    """Return an SVG path for each code, and the height of the map."""
    rings: dict[str, list[list[Point]]] = {}
    for shape in shapes_of(topology):
        code = codes.get(shape.get("id")) or CODES_BY_NAME[shape["properties"]["name"]]
        for ring in (points_of(topology, arcs) for arcs in rings_of(shape)):
            drawn = rings.setdefault(owner(code, ring), [])
            drawn += [[project(*point) for point in part] for part in cut(ring)]
    del rings["AQ"]
    points = [point for polygon in rings.values() for ring in polygon for point in ring]
    left, top = min(x for x, _ in points), max(y for _, y in points)
    scale = WIDTH / (max(x for x, _ in points) - left)
    shapes = {
        code: "".join(
            relative([(round((x - left) * scale), round((top - y) * scale)) for x, y in ring])
            for ring in rings[code]
        )
        for code in sorted(rings)
    }
    return shapes, math.ceil((top - min(y for _, y in points)) * scale)


def owner(code: str, ring: list[Point]) -> str:
    """Return the code of what a ring bounds."""
    if code not in OVERSEAS:
        return code
    other, (west, south, east, north) = OVERSEAS[code]
    is_there = all(west < lon < east and south < lat < north for lon, lat in ring)
    return other if is_there else code


def cut(ring: list[Point]) -> Iterator[list[Point]]:
    """Yield the parts of a ring between the edges of the map, longitudes from its middle on."""
    turned = [((ring[0][0] - MERIDIAN + 180) % 360 - 180, ring[0][1])]
    for (before, _), (longitude, latitude) in itertools.pairwise(ring):
        step = (longitude - before + 180) % 360 - 180  # the short way, maybe over an edge
        turned.append((turned[-1][0] + step, latitude))
    for turn in (-360, 0, 360):
        part = [(longitude + turn, latitude) for longitude, latitude in turned]
        for edge, side in ((-180, 1), (180, -1)):
            part = clipped(part, edge, side)
        if part:
            yield part


def clipped(ring: list[Point], edge: float, side: int) -> list[Point]:
    """Return what of a ring lies east (1) or west (-1) of a meridian (Sutherland-Hodgman)."""
    kept: list[Point] = []
    for (x, y), (next_x, next_y) in zip(ring, [*ring[1:], *ring[:1]], strict=True):
        if (x - edge) * side >= 0:
            kept.append((x, y))
        if (x - edge) * (next_x - edge) < 0:
            kept.append((edge, y + (next_y - y) * (edge - x) / (next_x - x)))
    return kept


def rings_of(shape: Any) -> list[list[int]]:
    """Return the rings of a shape, holes too, as numbers of arcs."""
    polygons = shape["arcs"] if shape["type"] == "MultiPolygon" else [shape["arcs"]]
    return [ring for polygon in polygons for ring in polygon]


def points_of(topology: Any, ring: list[int]) -> list[Point]:
    """Return the points of a ring, as longitudes and latitudes in degrees."""
    points: list[Point] = []
    for number in ring:  # one's complement stands for the arc in the other direction
        arc = decoded(topology, number if number >= 0 else ~number)
        points += (arc if number >= 0 else arc[::-1])[1 if points else 0 :]
    return points


def decoded(topology: Any, number: int) -> list[Point]:
    """Return the points of an arc, whose coordinates are quantized and relative."""
    (scale_x, scale_y), (move_x, move_y) = (
        topology["transform"]["scale"],
        topology["transform"]["translate"],
    )
    points = []
    x = y = 0
    for right, up in topology["arcs"][number]:
        x, y = x + right, y + up
        points.append((x * scale_x + move_x, y * scale_y + move_y))
    return points


def project(longitude: float, latitude: float) -> Point:
    """Return where a point lies on the Equal Earth projection of a unit sphere."""
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    theta = math.asin(math.sqrt(3) / 2 * math.sin(math.radians(latitude)))
    t2 = theta * theta
    t6 = t2 * t2 * t2
    slope = a1 + 3 * a2 * t2 + t6 * (7 * a3 + 9 * a4 * t2)
    x = 2 * math.sqrt(3) / 3 * math.radians(longitude) * math.cos(theta) / slope
    return x, theta * (a1 + a2 * t2 + t6 * (a3 + a4 * t2))


def relative(ring: Ring) -> str:
    """Return a closed path from its first point on, each further point relative to the last."""
    points = [ring[0]]
    for point in ring[1:]:
        if point != points[-1]:
            points.append(point)
    if points[-1] == points[0]:
        points.pop()
    if len(points) < 3:
        return ""
    steps = [(x - a, y - b) for (a, b), (x, y) in itertools.pairwise(points)]
    numbers = " ".join(f"{number}" for step in steps for number in step).replace(" -", "-")
    x, y = points[0]
    return f"M{x} {y}l{numbers}z"


def write(output: Path, text: str) -> None:
    """Write the file, which changes at once or not at all."""
    temporary = output.with_name(output.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, output)


if __name__ == "__main__":
    sys.exit(main())
